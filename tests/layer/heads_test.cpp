#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/layer/heads.hpp>

using namespace weft;

TEST_CASE("heads: tokens, maps and heads are views of the same memory", "[layer]") {
  auto x = even_values<float, 4>({2, 3, 5, 8}, 1);
  const auto tokens = tokens_of_map(x.view());
  const auto heads = heads_of_tokens(tokens, 4);
  const auto map = map_of_tokens(tokens, 3);
  for (Index b = 0; b < 2; ++b)
    for (Index r = 0; r < 3; ++r)
      for (Index c = 0; c < 5; ++c)
        for (Index d = 0; d < 8; ++d) {
          CHECK(&tokens(b, r * 5 + c, d) == &x(b, r, c, d));
          CHECK(&heads(b, d / 2, r * 5 + c, d % 2) == &x(b, r, c, d));
          CHECK(&map(b, r, c, d) == &x(b, r, c, d));
        }
  CHECK(heads_of_map(x.view(), 4).strides() == heads.strides());
  CHECK(tokens_of_heads(heads).strides() == tokens.strides());
}

TEST_CASE("heads: what no view can show is refused", "[layer]") {
  Tensor<float, 4> x({2, 3, 5, 8});
  const auto tokens = tokens_of_map(x.view());
  CHECK(contains(message_of([&] { heads_of_tokens(tokens, 3); }), "3 heads share 8 channels"));
  CHECK(contains(message_of([&] { map_of_tokens(tokens, 4); }), "15 tokens in 4 rows"));
  CHECK(contains(message_of([&] { tokens_of_map(x.view().slice(2, 0, 4)); }),
                 "must follow one another"));
  CHECK(contains(message_of([&] { tokens_of_heads(x.view()); }), "must lie side by side"));
}
