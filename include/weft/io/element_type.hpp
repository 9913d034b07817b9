#pragma once

#include <weft/core/dtype/bf16.hpp>
#include <weft/core/dtype/fp16.hpp>
#include <weft/core/tensor.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace weft {

static_assert(std::endian::native == std::endian::little, "array files are little-endian");

/// Element types that array files may hold. F8_E4M3 and F8_E5M2 are known by size only.
enum class Dtype {
  BOOL,
  U8,
  I8,
  I16,
  U16,
  I32,
  U32,
  I64,
  U64,
  F8_E4M3,
  F8_E5M2,
  F16,
  BF16,
  F32,
  F64
};

namespace detail {

struct DtypeFacts {
  std::string_view name;
  Index bytes;
};

/// In the order of the enumeration.
inline constexpr std::array<DtypeFacts, 15> kDtypes{{{"BOOL", 1},
                                                     {"U8", 1},
                                                     {"I8", 1},
                                                     {"I16", 2},
                                                     {"U16", 2},
                                                     {"I32", 4},
                                                     {"U32", 4},
                                                     {"I64", 8},
                                                     {"U64", 8},
                                                     {"F8_E4M3", 1},
                                                     {"F8_E5M2", 1},
                                                     {"F16", 2},
                                                     {"BF16", 2},
                                                     {"F32", 4},
                                                     {"F64", 8}}};

template <class T>
struct DtypeOf;
// clang-format off
template <> struct DtypeOf<bool> { static constexpr Dtype value = Dtype::BOOL; };
template <> struct DtypeOf<std::uint8_t> { static constexpr Dtype value = Dtype::U8; };
template <> struct DtypeOf<std::int8_t> { static constexpr Dtype value = Dtype::I8; };
template <> struct DtypeOf<std::uint16_t> { static constexpr Dtype value = Dtype::U16; };
template <> struct DtypeOf<std::int16_t> { static constexpr Dtype value = Dtype::I16; };
template <> struct DtypeOf<std::uint32_t> { static constexpr Dtype value = Dtype::U32; };
template <> struct DtypeOf<std::int32_t> { static constexpr Dtype value = Dtype::I32; };
template <> struct DtypeOf<std::uint64_t> { static constexpr Dtype value = Dtype::U64; };
template <> struct DtypeOf<std::int64_t> { static constexpr Dtype value = Dtype::I64; };
template <> struct DtypeOf<fp16> { static constexpr Dtype value = Dtype::F16; };
template <> struct DtypeOf<bf16> { static constexpr Dtype value = Dtype::BF16; };
template <> struct DtypeOf<float> { static constexpr Dtype value = Dtype::F32; };
template <> struct DtypeOf<double> { static constexpr Dtype value = Dtype::F64; };
// clang-format on

}  // namespace detail

/// The name that safetensors files use, e.g. "BF16".
constexpr std::string_view name_of(Dtype dtype) noexcept {
  return detail::kDtypes[static_cast<std::size_t>(dtype)].name;
}

/// Bytes of one element.
constexpr Index size_of(Dtype dtype) noexcept {
  return detail::kDtypes[static_cast<std::size_t>(dtype)].bytes;
}

/// The inverse of name_of; nothing for an unknown name.
constexpr std::optional<Dtype> dtype_named(std::string_view name) noexcept {
  for (std::size_t i = 0; i < detail::kDtypes.size(); ++i) {
    if (detail::kDtypes[i].name == name) return static_cast<Dtype>(i);
  }
  return std::nullopt;
}

/// C++ types that files can hold: bool, integers of 8 to 64 bits, fp16, bf16, float, double.
template <class T>
concept FileElement = requires { detail::DtypeOf<T>::value; };

template <FileElement T>
inline constexpr Dtype dtype_of = detail::DtypeOf<T>::value;

/// Converts `to.size()` packed elements of type `from` at any address into T.
///
/// To floating point: from every type, rounded to nearest (double to 16 bits through float).
/// To integers and bool: from integers and bool, whose values must fit. Anything else throws a
/// weft::error that begins with `what`.
template <FileElement To>
void convert_elements(Dtype from, const std::byte* source, std::span<To> to, std::string_view what);

namespace detail {

/// a * b for a, b >= 0; nothing when it overflows.
constexpr std::optional<Index> product(Index a, Index b) noexcept {
  if (b != 0 && a > std::numeric_limits<Index>::max() / b) return std::nullopt;
  return a * b;
}

/// Bytes of a packed array; nothing when they, or its strides, overflow.
inline std::optional<Index> packed_bytes(Dtype dtype, const std::vector<Index>& shape) {
  std::optional<Index> bytes = size_of(dtype);
  bool empty = false;
  for (const Index extent : shape) {
    empty = empty || extent == 0;
    if (bytes) bytes = product(*bytes, std::max<Index>(extent, 1));
  }
  return bytes && empty ? 0 : bytes;
}

template <class To, class From>
constexpr bool fits(From value) noexcept {
  if constexpr (std::is_same_v<From, bool>) {
    return true;
  } else if constexpr (std::is_same_v<To, bool>) {
    return value == From{0} || value == From{1};
  } else {
    return std::in_range<To>(value);
  }
}

template <class To, class From>
To convert_float(From value) noexcept {
  if constexpr (std::is_same_v<To, double> || std::is_same_v<To, float>) {
    if constexpr (std::is_arithmetic_v<From>) {
      return static_cast<To>(value);
    } else {
      return static_cast<To>(static_cast<float>(value));
    }
  } else {
    return To(convert_float<float>(value));
  }
}

template <class From>
From element_at(const std::byte* source, std::size_t i) noexcept {
  if constexpr (std::is_same_v<From, bool>) {
    return source[i] != std::byte{0};
  } else {
    From value;
    std::memcpy(&value, source + i * sizeof(From), sizeof(From));
    return value;
  }
}

template <class To, class From>
void convert_from(const std::byte* source, std::span<To> to, std::string_view what) {
  if constexpr (std::is_same_v<To, From> && !std::is_same_v<To, bool>) {
    if (!to.empty()) std::memcpy(to.data(), source, to.size_bytes());
  } else if constexpr (!std::is_integral_v<To>) {
    for (std::size_t i = 0; i < to.size(); ++i) {
      to[i] = convert_float<To>(element_at<From>(source, i));
    }
  } else if constexpr (std::is_integral_v<From>) {
    for (std::size_t i = 0; i < to.size(); ++i) {
      const From value = element_at<From>(source, i);
      require(fits<To>(value), what, ": element ", i, " is ", value, ", which ",
              name_of(dtype_of<To>), " cannot hold");
      to[i] = static_cast<To>(value);
    }
  } else {
    fail(std::string(what) + ": holds " + std::string(name_of(dtype_of<From>)) +
         " numbers; read them as a floating-point type and round them as you mean it");
  }
}

}  // namespace detail

template <FileElement To>
void convert_elements(Dtype from, const std::byte* source, std::span<To> to,
                      std::string_view what) {
  switch (from) {
    case Dtype::BOOL: return detail::convert_from<To, bool>(source, to, what);
    case Dtype::U8: return detail::convert_from<To, std::uint8_t>(source, to, what);
    case Dtype::I8: return detail::convert_from<To, std::int8_t>(source, to, what);
    case Dtype::U16: return detail::convert_from<To, std::uint16_t>(source, to, what);
    case Dtype::I16: return detail::convert_from<To, std::int16_t>(source, to, what);
    case Dtype::U32: return detail::convert_from<To, std::uint32_t>(source, to, what);
    case Dtype::I32: return detail::convert_from<To, std::int32_t>(source, to, what);
    case Dtype::U64: return detail::convert_from<To, std::uint64_t>(source, to, what);
    case Dtype::I64: return detail::convert_from<To, std::int64_t>(source, to, what);
    case Dtype::F16: return detail::convert_from<To, fp16>(source, to, what);
    case Dtype::BF16: return detail::convert_from<To, bf16>(source, to, what);
    case Dtype::F32: return detail::convert_from<To, float>(source, to, what);
    case Dtype::F64: return detail::convert_from<To, double>(source, to, what);
    case Dtype::F8_E4M3:
    case Dtype::F8_E5M2: break;
  }
  fail(std::string(what) + ": " + std::string(name_of(from)) +
       " elements have no conversion; take the raw bytes");
}

}  // namespace weft
