#pragma once

#include <weft/core/simd.hpp>
#include <weft/core/tensor.hpp>

#include <bit>
#include <cstdint>

namespace weft {

/// Vectors of signs h in {-1, +1}^bits, one per token and head, one bit per sign (1 is +1), packed
/// into words of 64; bits behind the last are 0.
class BitCodes {
 public:
  using Word = std::uint64_t;
  static constexpr Index kWord = 64;

  BitCodes(Index batch, Index heads, Index tokens, Index bits)
      : bits_(bits), words_({batch, heads, tokens, ceil_div(bits, kWord)}) {
    require(bits >= 1, "BitCodes: bits is ", bits, ", at least one is needed");
  }

  Index batch() const noexcept { return words_.extent(0); }
  Index heads() const noexcept { return words_.extent(1); }
  Index tokens() const noexcept { return words_.extent(2); }
  Index bits() const noexcept { return bits_; }

  /// The words of one code.
  Word* code(Index b, Index h, Index i) noexcept { return words_.view().pointer(b, h, i); }
  const Word* code(Index b, Index h, Index i) const noexcept {
    return words_.view().pointer(b, h, i);
  }

  /// +1 or -1.
  int sign(Index b, Index h, Index i, Index bit) const noexcept {
    return (code(b, h, i)[bit / kWord] >> (bit % kWord) & 1) != 0 ? 1 : -1;
  }
  void set(Index b, Index h, Index i, Index bit, bool positive) noexcept {
    Word& word = code(b, h, i)[bit / kWord];
    const Word mask = Word{1} << (bit % kWord);
    word = positive ? word | mask : word & ~mask;
  }

 private:
  Index bits_;
  Tensor<Word, 4> words_;
};

/// h . h' of two codes: bits - 2 popcount(x xor y).
inline Index code_product(const BitCodes::Word* x, const BitCodes::Word* y, Index bits) noexcept {
  Index different = 0;
  for (Index w = 0; w * BitCodes::kWord < bits; ++w) different += std::popcount(x[w] ^ y[w]);
  return bits - 2 * different;
}

}  // namespace weft
