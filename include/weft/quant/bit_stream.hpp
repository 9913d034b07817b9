#pragma once

#include <weft/core/view.hpp>

#include <concepts>
#include <cstdint>

/// Codes of a few bits packed into 32-bit words, one stream after another:
///
///   code k of a stream has its bits [k b, (k + 1) b);  bit t is bit t % 32 of word t / 32
///
/// so the first code is in the lowest bits, and where b does not divide 32 a code may straddle two
/// words. This is the order of GPTQ checkpoints and of KIVI's caches. Streams run along the first
/// axis of a matrix; pass transposed views for the second.
namespace weft::quant {

/// Words that hold `count` codes.
constexpr Index stream_words(Index count, int bits) noexcept { return (count * bits + 31) / 32; }

template <class Code>
concept StreamCode = std::same_as<Code, std::uint8_t> || std::same_as<Code, std::int32_t>;

namespace detail {

inline void check_stream(Index codes, Index words, Index streams, Index other, int bits) {
  require(bits >= 1 && bits <= 8, "a stream of codes of ", bits, " bits; wanted 1 to 8");
  require(words == stream_words(codes, bits), codes, " codes of ", bits, " bits fill ",
          stream_words(codes, bits), " words, there are ", words);
  require(streams == other, streams, " streams of codes, but ", other, " of words");
}

}  // namespace detail

/// codes [count, streams] into words [stream_words(count, bits), streams]. Throws when the shapes
/// do not fit or a code has more bits.
template <StreamCode Code>
void pack_bits(View<const Code, 2> codes, int bits, View<std::int32_t, 2> words) {
  detail::check_stream(codes.extent(0), words.extent(0), codes.extent(1), words.extent(1), bits);
  for (Index w = 0; w < words.extent(0); ++w)
    for (Index n = 0; n < words.extent(1); ++n) words(w, n) = 0;
  const auto put = [&](Index w, Index n, std::uint32_t part) {
    words(w, n) = static_cast<std::int32_t>(static_cast<std::uint32_t>(words(w, n)) | part);
  };
  for (Index k = 0; k < codes.extent(0); ++k) {
    const Index word = k * bits / 32, shift = k * bits % 32;
    for (Index n = 0; n < codes.extent(1); ++n) {
      const auto code = static_cast<std::uint32_t>(codes(k, n));
      require(code < 1u << bits, "code ", codes(k, n), " at [", k, ", ", n, "] has more than ",
              bits, " bits");
      put(word, n, code << shift);
      if (shift + bits > 32) put(word + 1, n, code >> (32 - shift));
    }
  }
}

/// The way back.
template <StreamCode Code>
void unpack_bits(View<const std::int32_t, 2> words, int bits, View<Code, 2> codes) {
  detail::check_stream(codes.extent(0), words.extent(0), codes.extent(1), words.extent(1), bits);
  const std::uint32_t mask = (1u << bits) - 1;
  for (Index k = 0; k < codes.extent(0); ++k) {
    const Index word = k * bits / 32, shift = k * bits % 32;
    const bool straddles = shift + bits > 32;
    for (Index n = 0; n < codes.extent(1); ++n) {
      std::uint32_t code = static_cast<std::uint32_t>(words(word, n)) >> shift;
      if (straddles) code |= static_cast<std::uint32_t>(words(word + 1, n)) << (32 - shift);
      codes(k, n) = static_cast<Code>(code & mask);
    }
  }
}

}  // namespace weft::quant
