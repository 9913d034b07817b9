#include "cases/softmax.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"

#include <algorithm>

// Every documented error of forward and forward_with_lse: the text names the argument, what came
// and what was wanted, and nothing is written.

using namespace weft;

namespace {

using Shape = std::array<Index, 4>;

/// A call that is right (q, k, v of 4 and 2 heads) until a test changes something.
struct Call {
  Shape q{2, 4, 5, 8}, k{2, 2, 7, 8}, v{2, 2, 7, 6}, out{2, 4, 5, 6};
  std::array<Index, 3> lse{2, 4, 5};

  template <class Mixer>
  std::string refusal(const Mixer& mixer) const {
    Tensor<float, 4> o(out);
    Tensor<float, 3> l(lse);
    std::fill_n(o.data(), o.size(), 7.f);
    std::fill_n(l.data(), l.size(), 7.f);
    const std::string text = message_of([&] {
      forward_with_lse(mixer, Tensor<float, 4>(q), Tensor<float, 4>(k), Tensor<float, 4>(v), o, l);
    });
    const auto untouched = [](float x) { return x == 7.f; };
    const bool written = !std::all_of(o.span().begin(), o.span().end(), untouched) ||
                         !std::all_of(l.span().begin(), l.span().end(), untouched);
    CHECK(written == text.empty());
    return text;
  }
  std::string refusal() const { return refusal(Softmax{}); }
};

}  // namespace

TEST_CASE("softmax: shapes that do not fit are refused", "[softmax]") {
  REQUIRE(Call{}.refusal() == "");
  const auto check = [](const Call& call, const std::string& part) {
    const std::string text = call.refusal();
    INFO(text);
    CHECK(contains(text, part));
  };
  check({.q = {3, 4, 5, 8}, .out = {3, 4, 5, 6}, .lse = {3, 4, 5}}, "q has batch size 3, k has 2");
  check({.q = {2, 5, 5, 8}, .out = {2, 5, 5, 6}, .lse = {2, 5, 5}},
        "q has 5 heads, k has 2; the first must be a multiple of the second");
  check({.q = {2, 4, 5, 9}}, "q has head size 9, k has 8");
  check({.q = {2, 4, 5, 0}, .k = {2, 2, 7, 0}}, "k has no channels");
  check({.v = {2, 2, 7, 0}, .out = {2, 4, 5, 0}}, "v has no channels");
  check({.k = {2, 2, 6, 8}}, "v [2, 2, 7, 6] must have the length of k [2, 2, 6, 8]");
  check({.v = {2, 1, 7, 6}}, "v [2, 1, 7, 6] must have the heads of k [2, 2, 7, 8]");
  check({.v = {1, 2, 7, 6}}, "v [1, 2, 7, 6] must have the batch size of k");
  check({.k = {2, 0, 7, 8}, .v = {2, 0, 7, 6}}, "q has 4 heads, k has 0");
  check({.out = {2, 4, 5, 7}}, "out has head size 7, v has 6");
  check({.out = {2, 4, 6, 6}}, "out [2, 4, 6, 6] must have");
  check({.out = {2, 3, 5, 6}}, "out [2, 3, 5, 6] must have");
  check({.lse = {2, 4, 4}}, "lse [2, 4, 4] must be [B, H, N] for q [2, 4, 5, 8]");
}

TEST_CASE("softmax: channels must be contiguous", "[softmax]") {
  Tensor<float, 4> x({1, 1, 8, 8}), out({1, 1, 8, 8});
  const auto turned = x.view().transpose(2, 3);
  const auto refusal = [&](const auto& q, const auto& k, const auto& v, const auto& o) {
    return message_of([&] { forward(Softmax{}, q, k, v, o); });
  };
  const auto fine = x.view();
  CHECK(refusal(fine, fine, fine, out.view()) == "");
  CHECK(contains(refusal(turned, fine, fine, out.view()), "q has stride 8 in its last axis"));
  CHECK(contains(refusal(fine, turned, fine, out.view()), "k has stride 8"));
  CHECK(contains(refusal(fine, fine, turned, out.view()), "v has stride 8"));
  CHECK(contains(refusal(fine, fine, fine, out.view().transpose(2, 3)), "out has stride 8"));
}

TEST_CASE("softmax: parameters that are not finite or do not fit are refused", "[softmax]") {
  const auto check = [](const auto& mixer, const std::string& part) {
    const std::string text = Call{}.refusal(mixer);
    INFO(text);
    CHECK(contains(text, part));
  };
  for (const double scale : {HUGE_VAL, -HUGE_VAL, std::nan("")}) {
    check(Softmax{NoMask{}, NoScore{}, PlainSoftmax{}, scale}, "scale must be finite");
  }
  check(Softmax{NoMask{}, SoftCap{0}}, "SoftCap: cap must be positive and finite");
  const std::vector<float> three{1, 2, 3};
  check(Softmax{NoMask{}, Alibi{view_of(three)}}, "3 slopes for 4 query heads");
  check(Softmax{NoMask{}, NoScore{}, SinkSoftmax{view_of(three)}}, "3 logits for 4 query heads");
  const Tensor<float, 4> bias({1, 4, 5, 8});
  check(Softmax{NoMask{}, AdditiveBias{bias.view()}}, "axis 3 of extent 8 to 7");
  const Tensor<std::uint8_t, 4> bytes({2, 2, 5, 7});
  check(Softmax{BoolMask{bytes.view()}}, "axis 1 of extent 2 to 4");
  check(Softmax{And{cases::kCausal, BoolMask{bytes.view()}}}, "axis 1");
  const Tensor<float, 2> distances({4, 10});
  check(Softmax{NoMask{}, RelativeBias{distances.view(), 6}}, "distances from -6 to 4");
}
