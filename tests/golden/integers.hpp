#pragma once

#include "golden/report.hpp"
#include <weft/io/safetensors.hpp>

#include <string>

/// Integer results, which must be equal.
namespace golden {

/// Says how many of them differ.
template <class T, std::size_t Rank>
void compare_integers(Case& c, const std::string& what, const weft::Tensor<T, Rank>& got,
                      const weft::Tensor<T, Rank>& expected) {
  if (got.shape() != expected.shape())
    return c.fail(what + ": has shape " + shape_text(got.view()) + ", expected " +
                  shape_text(expected.view()));
  weft::Index wrong = 0;
  for (weft::Index i = 0; i < got.size(); ++i) wrong += got.data()[i] != expected.data()[i];
  c.require(what + ": " + std::to_string(wrong) + " of " + std::to_string(got.size()) +
                " integers differ",
            wrong == 0);
}

/// The one number of a tensor [1].
template <class T>
T scalar(const weft::SafetensorsFile& file, const std::string& name) {
  return file.read<T, 1>(name)(0);
}

}  // namespace golden
