#pragma once

#include "golden/report.hpp"
#include <weft/io/safetensors.hpp>

#include <cstdint>
#include <string>
#include <vector>

/// Codes and flat tensors of golden files.
namespace golden {

/// All elements of a tensor of any rank in row-major order.
template <class T>
std::vector<T> read_flat(const weft::SafetensorsFile& file, const std::string& name) {
  const auto flat = [](const auto& x) { return std::vector<T>(x.data(), x.data() + x.size()); };
  switch (file.info(name).shape.size()) {
    case 0: return flat(file.read<T, 0>(name));
    case 1: return flat(file.read<T, 1>(name));
    case 2: return flat(file.read<T, 2>(name));
    default: return flat(file.read<T, 3>(name));
  }
}

/// A tensor of one number.
template <class T>
T read_scalar(const weft::SafetensorsFile& file, const std::string& name) {
  const auto all = read_flat<T>(file, name);
  weft::require(all.size() == 1, name, ": has ", all.size(), " elements, one was expected");
  return all[0];
}

/// Requires codes of any integer type, in the order of the file, to be those of a tensor in it.
template <class Codes>
void require_codes(Case& c, const weft::SafetensorsFile& file, const std::string& name,
                   const Codes& got) {
  const auto expected = read_flat<std::int32_t>(file, name);
  std::size_t i = 0, wrong = 0;
  for (const auto code : got)
    wrong += i >= expected.size() || expected[i++] != static_cast<int>(code);
  if (wrong != 0 || i != expected.size())
    c.fail(name + ": " + std::to_string(wrong) + " of " + std::to_string(expected.size()) +
           " codes are wrong");
}

/// Compares numbers computed in T, in the order of the file, with a tensor in it.
template <class T>
void compare_flat(Case& c, const weft::SafetensorsFile& file, const std::string& name,
                  const std::vector<T>& got, Tolerance tolerance = {}) {
  const auto flat = read_flat<double>(file, name);
  weft::Tensor<double, 1> expected({static_cast<weft::Index>(flat.size())});
  std::copy(flat.begin(), flat.end(), expected.data());
  weft::Tensor<T, 1> values({static_cast<weft::Index>(got.size())});
  std::copy(got.begin(), got.end(), values.data());
  c.compare(name, values, expected, tolerance);
}

}  // namespace golden
