#include "reference/arrangement.hpp"

#include "reference/softmax.hpp"
#include "support/any_threads.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/attention/softmax/gated_parallel.hpp>
#include <weft/attention/softmax/pooled_memory.hpp>
#include <weft/attention/softmax/styleswin.hpp>
#include <weft/layer/conv_reweight.hpp>

// softmax/styleswin_double_attention, softmax/theme_gated_parallel,
// softmax/efficienttam_cross_attention, softmax/contracon_reweight

using namespace weft;

namespace {

std::size_t size(Index n) { return static_cast<std::size_t>(n); }

// --- StyleSwin

template <class T>
struct Swin {
  Swin(Index B, Index R, Index columns, Index C, Index H, Index w)
      : q(even_values<T, 4>({B, R, columns, C}, 1, -2, 2)),
        k(even_values<T, 4>({B, R, columns, C}, 2, -2, 2)),
        v(even_values<T, 4>({B, R, columns, C}, 3)),
        window(w),
        heads(H) {
    const Index side = std::min({R, columns, w}), offsets = (2 * side - 1) * (2 * side - 1);
    for (std::uint64_t i : {0u, 1u})
      tables[i] = even_values<T, 2>({offsets, heads / 2}, 4 + i, -2, 2);
  }

  StyleSwin<T> mixer() const { return {window, heads, tables[0].view(), tables[1].view()}; }

  std::vector<double> run(const Context& ctx = Context()) const {
    const Poisoned<T, 4> out(q.shape());
    forward(mixer(), q, k, v, out.view(), ctx);
    CHECK(out.guards_intact());
    return doubles_of(out.view());
  }

  std::vector<double> expected() const {
    std::vector<double> all;
    for (Index b = 0; b < q.extent(0); ++b) {
      const auto image = [&](const Tensor<T, 4>& x) { return doubles_of(x.view().select(0, b)); };
      const auto one = reference::styleswin(
          {size(q.extent(1)), size(q.extent(2)), size(q.extent(3)), size(heads), size(window)},
          image(q), image(k), image(v),
          {doubles_of(tables[0].view()), doubles_of(tables[1].view())});
      all.insert(all.end(), one.begin(), one.end());
    }
    return all;
  }

  Tensor<T, 4> q, k, v;
  Tensor<T, 2> tables[2];
  Index window, heads;
};

}  // namespace

TEST_CASE("StyleSwin agrees with the reference", "[softmax]") {
  const Swin<double> exact[] = {{1, 1, 1, 2, 2, 4},  {2, 8, 12, 12, 2, 4}, {1, 4, 8, 16, 4, 4},
                                {1, 9, 6, 24, 4, 3}, {1, 6, 10, 8, 2, 2},  {1, 3, 9, 20, 4, 5}};
  for (const auto& s : exact) CHECK(largest_error(s.run(), s.expected()) < 1e-13);
  const Swin<float> rounded(2, 16, 16, 24, 6, 8);
  CHECK(largest_error(rounded.run(), rounded.expected()) < 1e-5);
  CHECK(same_for_any_threads([&](const Context& ctx) { return rounded.run(ctx); }));
  CHECK(Swin<float>(0, 4, 4, 4, 2, 2).run().empty());
}

TEST_CASE("StyleSwin refuses what does not fit", "[softmax][errors]") {
  const Swin<float> s(1, 8, 8, 12, 4, 4);
  Tensor<float, 4> out(s.q.shape());
  const auto refusal = [&](Index window, Index heads) {
    auto mixer = s.mixer();
    mixer.window = window, mixer.heads = heads;
    return message_of([&] { forward(mixer, s.q, s.k, s.v, out); });
  };
  CHECK(contains(refusal(0, 4), "window is 0"));
  CHECK(contains(refusal(3, 4), "windows of 3 on a map"));
  CHECK(contains(refusal(4, 3), "3 heads share 12 channels"));
  CHECK(contains(refusal(2, 4), "wanted [9, 2]"));
  CHECK(contains(message_of([&] { forward(s.mixer(), s.q, s.k.view().slice(1, 0, 4), s.v, out); }),
                 "an input is [1, 4, 8, 12]"));
}

// --- Theme Transformer

TEST_CASE("gated parallel attention agrees with the reference", "[softmax]") {
  for (const bool exclusive : {false, true}) {
    const auto x = even_values<float, 3>({2, 5, 19}, 1),
               self = even_values<float, 3>({2, 5, 19}, 2);
    const auto cross = even_values<float, 3>({2, 5, 19}, 3);
    Tensor<std::int32_t, 2> gate({2, 5});
    for (Index i = 0; i < gate.size(); i += 3) gate.data()[i] = i == 3 ? 7 : 1;
    const auto run = [&](const Context& ctx) {
      Tensor<float, 3> out(x.shape());
      mix_gated_parallel(LayerNorm<>{}, exclusive, std::as_const(gate).view(), x, self, cross, out,
                         ctx);
      return doubles_of(out.view());
    };
    std::vector<double> expected;
    for (Index i = 0; i < gate.size(); ++i) {
      const auto token = [&](const auto& t) {
        return doubles_of(t.view().select(0, i / 5).select(0, i % 5));
      };
      const auto row = reference::gated_parallel(token(x), token(self), token(cross),
                                                 gate.data()[i] != 0, exclusive, 1e-5);
      expected.insert(expected.end(), row.begin(), row.end());
    }
    CHECK(largest_error(run(Context()), expected) < 2e-6);
    CHECK(same_for_any_threads(run));
  }
}

TEST_CASE("gated parallel attention does not read what is gated off", "[softmax][errors]") {
  const auto x = even_values<double, 3>({1, 2, 6}, 1);
  auto self = even_values<double, 3>({1, 2, 6}, 2), cross = even_values<double, 3>({1, 2, 6}, 3);
  Tensor<std::int32_t, 2> gate({1, 2});
  gate(0, 0) = 1;
  Tensor<double, 3> before(x.shape()), after(x.shape());
  const auto run = [&](Tensor<double, 3>& out) {
    mix_gated_parallel(LayerNorm<double>{}, true, std::as_const(gate).view(), x, self, cross, out);
  };
  run(before);
  for (Index c = 0; c < 6; ++c) self(0, 0, c) = cross(0, 1, c) = std::nan("");
  run(after);
  CHECK((doubles_of(before.view()) == doubles_of(after.view())));
  Tensor<double, 3> shorter({1, 2, 5}), none({0, 2, 6});
  CHECK(contains(message_of([&] { run(shorter); }), "out is [1, 2, 5]"));
  const Tensor<std::int32_t, 2> other({2, 2}), nobody({0, 2});
  CHECK(contains(message_of([&] {
                   mix_gated_parallel(LayerNorm<double>{}, true, other.view(), x, self, cross,
                                      after);
                 }),
                 "gate is [2, 2]"));
  mix_gated_parallel(LayerNorm<double>{}, true, nobody.view(), none, none, none, none);
}

// --- EfficientTAM

namespace {

template <class T>
struct Memory {
  Memory(Index B, Index side, Index frames, Index pointers, Index N)
      : q(even_values<T, 4>({B, 4, N, 10}, 1, -2, 2)),
        k(even_values<T, 4>({B, 2, frames * side * side + pointers, 10}, 2, -2, 2)),
        v(even_values<T, 4>({B, 2, frames * side * side + pointers, 6}, 3)),
        mixer{side, frames} {}

  std::vector<double> run(const Context& ctx = Context()) const {
    const Poisoned<T, 4> out({q.extent(0), 4, q.extent(2), 6});
    forward(mixer, q, k, v, out.view(), ctx);
    CHECK(out.guards_intact());
    return doubles_of(out.view());
  }

  /// Attention to pooled keys with what they gain as a bias.
  std::vector<double> expected() const {
    const bool per_logit = mixer.rule == PooledMemory::Rule::per_logit;
    const std::size_t cells = size(mixer.frames * mixer.side * mixer.side / 4);
    std::vector<double> keys, values;
    for (Index bh = 0; bh < k.extent(0) * 2; ++bh) {
      const auto pooled = [&](const Tensor<T, 4>& x) {
        return reference::pool(doubles_of(x.view().select(0, bh / 2).select(0, bh % 2)),
                               size(mixer.side), size(mixer.frames), size(x.extent(3)));
      };
      auto of_keys = pooled(k);
      for (std::size_t i = 0; i < cells * 10 && !per_logit; ++i) of_keys[i] += 2 * std::log(2.0);
      const auto of_values = pooled(v);
      keys.insert(keys.end(), of_keys.begin(), of_keys.end());
      values.insert(values.end(), of_values.begin(), of_values.end());
    }
    const std::size_t M = size(k.extent(2)) - 3 * cells;
    reference::AttentionOptions options;
    reference::Values bias(M, 0.0);
    if (per_logit) std::fill_n(bias.begin(), cells, 2 * std::log(2.0));
    options.bias = {bias, 1, 1, 1, M};
    return reference::attention({size(q.extent(0)), 4, 2, size(q.extent(2)), M, 10, 6},
                                doubles_of(q.view()), keys, values, options)
        .out;
  }

  Tensor<T, 4> q, k, v;
  PooledMemory mixer;
};

}  // namespace

TEST_CASE("pooled memory agrees with the reference, both rules", "[softmax]") {
  for (const auto rule : {PooledMemory::Rule::per_logit, PooledMemory::Rule::per_component}) {
    Memory<double> exact[] = {{1, 2, 2, 0, 1}, {2, 4, 3, 5, 16}, {1, 6, 2, 1, 40}};
    for (auto& s : exact) {
      s.mixer.rule = rule;
      CHECK(largest_error(s.run(), s.expected()) < 1e-13);
    }
    Memory<float> rounded(2, 8, 7, 3, 64);
    rounded.mixer.rule = rule;
    CHECK(largest_error(rounded.run(), rounded.expected()) < 1e-5);
    CHECK(same_for_any_threads([&](const Context& ctx) { return rounded.run(ctx); }));
  }
  CHECK(Memory<float>(0, 2, 2, 1, 3).run().empty());
}

TEST_CASE("pooled memory: equal cells give full attention; one frame is not pooled", "[softmax]") {
  Memory<double> s(1, 4, 2, 3, 9);
  for (Index t = 0; t < 32; ++t) {
    const Index frame = t / 16 * 16, corner = frame + t % 16 / 8 * 8 + t % 4 / 2 * 2;
    for (Index h = 0; h < 2; ++h) {
      std::copy_n(s.k.view().pointer(0, h, corner), 10, s.k.view().pointer(0, h, t));
      std::copy_n(s.v.view().pointer(0, h, corner), 6, s.v.view().pointer(0, h, t));
    }
  }
  Tensor<double, 4> full({1, 4, 9, 6});
  forward(Softmax{}, s.q, s.k, s.v, full);
  CHECK(largest_error(s.run(), doubles_of(full.view())) < 1e-14);
  const Memory<double> single(1, 3, 1, 2, 9);
  forward(Softmax{}, single.q, single.k, single.v, full);
  CHECK((single.run() == doubles_of(full.view())));
}

TEST_CASE("pooled memory refuses what does not fit", "[softmax][errors]") {
  CHECK(contains(message_of([] { Memory<float>(1, 3, 2, 0, 2).run(); }), "on a side of 3"));
  Memory<float> s(1, 2, 2, 0, 2);
  s.mixer.frames = 3;
  CHECK(contains(message_of([&] { s.run(); }), "3 frames of 2 x 2 tokens, k has 8"));
}

// --- ConTraCon

TEST_CASE("convolutional re-weighting agrees with the reference", "[layer]") {
  const auto weight = even_values<double, 2>({12, 7}, 1);
  const auto bias = even_values<double, 1>({3}, 2), skip = even_values<double, 1>({3}, 3, -2, 2);
  for (const Index k : {1, 3, 5})
    for (const Index dilation : {1, 2, 9}) {
      const auto kernel = even_values<double, 3>({3, k, k}, 4);
      Tensor<double, 2> out(weight.shape());
      ConvReweight<double>{kernel.view(), bias.view(), skip.view(), dilation}.apply(weight.view(),
                                                                                    out.view());
      std::vector<double> expected;
      for (Index h = 0; h < 3; ++h) {
        const auto head = reference::conv_reweight(doubles_of(weight.view().slice(0, 4 * h, 4)), 7,
                                                   doubles_of(kernel.view().select(0, h)), size(k),
                                                   bias(h), skip(h), size(dilation));
        expected.insert(expected.end(), head.begin(), head.end());
      }
      CHECK(largest_error(doubles_of(out.view()), expected) < 1e-14);
    }
}

TEST_CASE("convolutional re-weighting: nothing learned keeps the weights; errors",
          "[layer][errors]") {
  const auto weight = even_values<float, 2>({4, 5}, 1);
  const Tensor<float, 3> zero({2, 3, 3}), even({2, 2, 2});
  const Tensor<float, 1> bias({2});
  Tensor<float, 1> skip({2});
  std::fill_n(skip.data(), 2, 100.0f);
  Tensor<float, 2> out(weight.shape());
  const auto run = [&](const Tensor<float, 3>& kernel, const Tensor<float, 1>& offsets,
                       Index dilation) {
    return message_of([&] {
      ConvReweight<float>{kernel.view(), offsets.view(), skip.view(), dilation}.apply(weight.view(),
                                                                                      out.view());
    });
  };
  CHECK(run(zero, bias, 1).empty());
  CHECK((doubles_of(out.view()) == doubles_of(weight.view())));
  CHECK(contains(run(even, bias, 1), "k odd"));
  CHECK(contains(run(zero, bias, 0), "dilation is 0"));
  CHECK(contains(run(zero, Tensor<float, 1>({3}), 1), "3 biases and 2 skips for 2 heads"));
  CHECK(contains(run(Tensor<float, 3>({3, 3, 3}), bias, 1), "3 heads share 4 rows"));
}
