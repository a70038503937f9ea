// Unicode normalisation forms of a text with origins.
#pragma once

#include "text/aligned_text.h"

namespace moebius {

enum class NormalForm { nfc, nfd, nfkc, nfkd };

/// The text must be well-formed UTF-8. Origins are those of Hugging Face's library: a decomposed
/// character's parts share its origin, a composed one has that of its first part.
void to_normal_form(AlignedText& text, NormalForm form);

}  // namespace moebius
