#include "attention/softmax/logits.hpp"
#include "reference/normalizer.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include <weft/attention/softmax/block_diagonal.hpp>

using namespace weft;
using cases::weights_of;

// The mask itself is in mask_test.cpp.

TEST_CASE("block diagonal: the last block is filled up with keys of logit 0",
          "[softmax][linear/diag_attention]") {
  const auto x = even_values<double, 2>({10, 10}, 3, -4, 4);
  const auto padded = weights_of(PaddedBlockSoftmax{4}, x);
  const auto whole = weights_of(PaddedBlockSoftmax{5}, x), plain = weights_of(PlainSoftmax{}, x);
  for (std::size_t i = 0; i < 10; ++i) {
    CHECK(largest_error(whole[i], plain[i]) < 1e-14);
    const double pads = i / 4 == 10 / 4 ? 2 : 0;
    const auto row = doubles_of(x.view().select(0, static_cast<Index>(i)));
    CHECK(largest_error(padded[i], reference::padded_softmax(row, pads)) < 1e-14);
  }
}

TEST_CASE("block diagonal: blocks of no tokens are refused", "[softmax]") {
  CHECK(contains(message_of([] { BlockDiagonal{0}.check(1, 1, 1, 1); }), "size is 0"));
  CHECK(contains(message_of([] { PaddedBlockSoftmax{-1}.check(1, 1, 1, 1); }), "size is -1"));
}
