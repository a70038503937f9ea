// Values other than tensors that an operation keeps for its backward pass.
#pragma once

#include <ATen/core/ivalue.h>

#include <utility>

namespace moebius::ops {

template <class T>
struct SavedValue : torch::CustomClassHolder {
  explicit SavedValue(T of) : value(std::move(of)) {}
  T value;
};

/// For AutogradContext::saved_data. A tensor that needs gradients belongs into save_for_backward
/// instead, which knows of cycles.
template <class T>
c10::IValue saved(T value) {
  return c10::IValue::make_capsule(c10::make_intrusive<SavedValue<T>>(std::move(value)));
}

/// The value that `saved` made, for as long as the context lives.
template <class T>
const T& value_of(const c10::IValue& saved) {
  return static_cast<const SavedValue<T>&>(*saved.toCapsule()).value;
}

}  // namespace moebius::ops
