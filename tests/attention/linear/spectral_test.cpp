#include "attention/linear/images.hpp"
#include <weft/attention/linear/spectral.hpp>

using namespace weft;
using namespace images;

TEST_CASE("spectral attention: squares of centred channels", "[linear][linear/essa]") {
  for (const Index channels : {1, 18}) {
    const Images in(channels);
    const auto run = [&](const Tensor<double, 3>& q, const Context& ctx = Context()) {
      const Poisoned<double, 3> out(q.shape());
      forward(SpectralAttention{}, q, in.k, in.v, out.view(), ctx);
      return doubles_of(out.view());
    };
    std::vector<double> wanted;
    for (Index b = 0; b < 2; ++b) {
      const auto part =
          flat(reference::spectral(tokens_of(in.q, b), tokens_of(in.k, b), tokens_of(in.v, b)));
      wanted.insert(wanted.end(), part.begin(), part.end());
    }
    CHECK(largest_error(run(in.q), wanted) <= kTolerance);
    if (channels == 1) CHECK(run(in.q) == doubles_of(in.v.view()));
    Tensor<double, 3> moved = in.q.clone();
    for (double& x : moved.span()) x += 0.5;
    CHECK(largest_error(run(moved), wanted) <= 1e-12);
    CHECK(same_for_any_threads([&](const Context& ctx) { return run(in.q, ctx); }));
  }
}

TEST_CASE("spectral attention: what does not fit is refused", "[linear]") {
  const Images in;
  Tensor<double, 3> out(in.q.shape());
  const Tensor<double, 3> other({2, kTokens, 7});
  CHECK(contains(message_of([&] { forward(SpectralAttention{}, in.q, in.k, other, out); }),
                 "give both the same shape"));
}
