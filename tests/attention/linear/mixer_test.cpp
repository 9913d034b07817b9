#include "attention/linear/heads.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"

using namespace weft;
using namespace linear_cases;

namespace {

const LinearAttention<> kPlain;

template <class T>
std::vector<double> with_storage(const Inputs<double>& exact) {
  Inputs<T> in(1, 2, 70, 20, 24);
  const auto copy = [](const Tensor<double, 4>& from, Tensor<T, 4>& to) {
    for (Index i = 0; i < from.size(); ++i) to.data()[i] = element<T>(from.data()[i]);
  };
  copy(exact.q, in.q);
  copy(exact.k, in.k);
  copy(exact.v, in.v);
  return run_forward(kPlain, in);
}

}  // namespace

TEST_CASE("linear mixer: storage of 16 bits is computed in fp32, fp64 in fp64", "[linear]") {
  const Inputs<double> in(1, 2, 70, 20, 24);
  const auto truth = expected(in, true, unchanged, [](Index, Index) { return LinearOptions{}; });
  CHECK(largest_error(run_forward(kPlain, in), truth) <= tolerance<double>(64));
  CHECK(largest_error(with_storage<float>(in), truth) <= tolerance<float>(64));
  // Each of the three inputs and the output is rounded once.
  CHECK(largest_error(with_storage<bf16>(in), truth) <= 4 * 0x1p-8);
  CHECK(largest_error(with_storage<fp16>(in), truth) <= 4 * 0x1p-11);
}

TEST_CASE("linear mixer: [B, N, H D] buffers are viewed, not copied", "[linear]") {
  const Inputs<float> in(2, 3, 50, 8, 12);
  const auto interleaved = [](const Tensor<float, 4>& x) {
    const auto& s = x.shape();
    Tensor<float, 4> out({s[0], s[2], s[1], s[3]});
    for (Index b = 0; b < s[0]; ++b)
      for (Index h = 0; h < s[1]; ++h)
        for (Index i = 0; i < s[2]; ++i)
          for (Index d = 0; d < s[3]; ++d) out(b, i, h, d) = x(b, h, i, d);
    return out;
  };
  const auto q = interleaved(in.q), k = interleaved(in.k), v = interleaved(in.v);
  Tensor<float, 4> out({2, 50, 3, 12});
  const auto heads = [](auto& x) { return x.view().transpose(1, 2); };
  forward(kPlain, heads(q), heads(k), heads(v), heads(out));
  CHECK(doubles_of(heads(out)) == run_forward(kPlain, in));
}

TEST_CASE("linear mixer: a ragged batch is its sequences one by one", "[linear]") {
  constexpr Index T = 90, H = 2, D = 8, E = 4;
  const auto q = even_values<float, 3>({T, H, D}, 1), k = even_values<float, 3>({T, H, D}, 2);
  const auto v = even_values<float, 3>({T, H, E}, 3);
  const auto gates = even_values<float, 3>({1, H, T}, 4, -1, 0);
  const std::vector<std::int32_t> cu{0, 50, 50, 51, T};
  Tensor<float, 3> out({T, H, E}), alone({T, H, E});
  forward_ragged(LinearAttention{Identity{}, TokenDecay{gates}}, q, k, v, cu, out);
  for (std::size_t b = 0; b + 1 < cu.size(); ++b) {
    const Index first = cu[b], n = cu[b + 1] - first;
    const auto part = [&](auto& x) {
      return unsqueeze(x.view().slice(0, first, n)).transpose(1, 2);
    };
    const auto own = gates.view().slice(2, first, n);
    forward(LinearAttention{Identity{}, TokenDecay{own}}, part(q), part(k), part(v), part(alone));
  }
  CHECK(doubles_of(out.view()) == doubles_of(alone.view()));
}

TEST_CASE("linear mixer: what does not fit is refused", "[linear]") {
  const auto refusal = [](const auto& mixer, std::array<Index, 4> q, std::array<Index, 4> k,
                          std::array<Index, 4> v, std::array<Index, 4> out) {
    Tensor<float, 4> o(out);
    return message_of(
        [&] { forward(mixer, Tensor<float, 4>(q), Tensor<float, 4>(k), Tensor<float, 4>(v), o); });
  };
  using Shape = std::array<Index, 4>;
  const Shape x{1, 2, 5, 8};
  CHECK(refusal(kPlain, x, x, x, x).empty());
  CHECK(contains(refusal(kPlain, x, {1, 2, 6, 8}, {1, 2, 6, 8}, x), "the order being causal"));
  CHECK(contains(refusal(kPlain, x, x, {1, 2, 6, 8}, x), "must have the length of k"));
  CHECK(contains(refusal(kPlain, x, {1, 2, 5, 7}, x, x), "must have the head size of q"));
  CHECK(contains(refusal(kPlain, {1, 3, 5, 8}, x, x, x), "the first must be a multiple"));
  CHECK(contains(refusal(kPlain, {2, 2, 5, 8}, x, x, {2, 2, 5, 8}), "must have the batch size"));
  auto bad_scale = kPlain;
  bad_scale.scale = std::numeric_limits<double>::infinity();
  CHECK(contains(refusal(bad_scale, x, x, x, x), "scale must be finite"));

  const Tensor<float, 3> short_gate({1, 2, 4});
  const Tensor<float, 4> short_gates({1, 2, 5, 7});
  const Tensor<float, 1> per_head({3});
  CHECK(contains(refusal(LinearAttention{Identity{}, TokenDecay{short_gate}}, x, x, x, x),
                 "TokenDecay: log_decay is"));
  CHECK(contains(refusal(LinearAttention{Identity{}, ChannelDecay{short_gates}}, x, x, x, x),
                 "ChannelDecay: log_decay is"));
  CHECK(contains(refusal(LinearAttention{Identity{}, HeadDecay{per_head}}, x, x, x, x),
                 "HeadDecay: 3 numbers for 2 heads"));
  CHECK(contains(refusal(LinearAttention{Identity{}, NoDecay{}, Delta{short_gate}}, x, x, x, x),
                 "the weights of the update are"));
  auto unordered = LinearAttention{Identity{}, HeadDecay{per_head}};
  unordered.order = Order::bidirectional;
  CHECK(contains(refusal(unordered, x, x, x, x), "needs the causal order"));
}

TEST_CASE("linear mixer: states that do not fit are refused and left alone", "[linear]") {
  auto state = make_state(kPlain, {1, 2, 8, 0});
  const Tensor<float, 4> x({1, 2, 5, 8}), other({1, 2, 5, 6});
  Tensor<float, 4> out({1, 2, 5, 6});
  CHECK(contains(message_of([&] { prefill(kPlain, state, x, x, other, out); }), "the state is"));
  CHECK(state.position == 0);
  auto unordered = kPlain;
  unordered.order = Order::bidirectional;
  Tensor<float, 4> same({1, 2, 5, 8});
  CHECK(contains(message_of([&] { prefill(unordered, state, x, x, x, same); }), "causal order"));
  CHECK(contains(message_of([&] { make_state(kPlain, {0, 1, 8, 0}); }), "must be positive"));
}
