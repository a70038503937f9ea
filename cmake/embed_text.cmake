# Writes a C++ file that defines `std::string_view NAME` with the text of INPUT.
file(READ ${INPUT} text)
file(WRITE ${OUTPUT} "#include \"${HEADER}\"\n\nnamespace moebius {\nconst std::string_view ${NAME} = R\"~~~(${text})~~~\";\n}  // namespace moebius\n")
