# Fails if an object compiled for an instruction set holds a weak symbol: the linker might keep its
# copy of an inline function for the whole program, which then ends on an older processor.
# usage: cmake -DNM=nm -DOBJECTS="a.o;b.o" -P no_weak_symbols.cmake
set(found 0)
foreach(object IN LISTS OBJECTS)
  if(NOT object MATCHES "/kernels/cpu/avx[^/]*$")
    continue()
  endif()
  math(EXPR found "${found} + 1")
  execute_process(COMMAND ${NM} ${object} OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "[^\n]* [WVuvw] [^\n]*" weak "${symbols}")
  if(weak)
    string(REPLACE ";" "\n" weak "${weak}")
    message(FATAL_ERROR "${object} holds weak symbols:\n${weak}")
  endif()
endforeach()
if(found EQUAL 0)
  message(FATAL_ERROR "no object of an instruction set among ${OBJECTS}")
endif()
