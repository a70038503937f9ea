#include "infer/engine/request.h"

namespace moebius {

std::string_view name_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::none:
      return "";
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
    case FinishReason::failed:
      return "error";
  }
  return "";
}

}  // namespace moebius
