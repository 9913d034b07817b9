#include "quant/decoding.hpp"
#include "support/allocations.hpp"
#include "support/any_threads.hpp"
#include "support/message.hpp"
#include <weft/quant/float8_cache.hpp>
#include <weft/quant/kv_cache.hpp>

// quant/kv_int8, quant/kv_int4, quant/kv_fp8

using namespace weft;
using namespace weft::quant;
using namespace decoding;

namespace {

constexpr KvFormat kFormats[] = {{8, true},  {8, false}, {4, true},
                                 {4, false}, {2, true},  {2, false}};

auto coded_by(const TokenwiseKv& formats) {
  return [formats](reference::Rows rows, bool keys) {
    const KvFormat& f = keys ? formats.keys : formats.values;
    reference::code_tokens(rows, 0, rows.size(), 0, f.bits, f.symmetric);
    return rows;
  };
}

}  // namespace

TEST_CASE("kv_cache: steps attend to the numbers that the codes stand for", "[quant]") {
  const Shape shapes[] = {{1, 2, 2, 70, 64, 64},
                          {2, 4, 1, 66, 20, 36},
                          {1, 3, 1, 67, 1, 17},
                          {1, 8, 1, 40, 33, 1},
                          {1, 2, 1, 130, 80, 24}};
  for (const Shape& shape : shapes)
    for (const KvFormat& f : kFormats) {
      // Other formats for values than for keys.
      const TokenwiseKv formats{f, {f.bits == 2 ? 8 : f.bits / 2, !f.symmetric}};
      INFO(shape.N << " tokens of " << shape.D << ", " << f.bits << " bits");
      const Inputs in(shape);
      auto cache = make_state(kMixer, formats, shape.cache());
      const auto out = decode(cache, in, steps(shape.N));
      CHECK(error_of_rows(out, in, 0, coded_by(formats)) < tolerance(shape.Hq / shape.Hk));
    }
}

TEST_CASE("kv_cache: prefill in any split sees what steps see", "[quant]") {
  const Shape shape{1, 4, 2, 300, 40, 24};
  const Inputs in(shape);
  for (const TokenwiseKv& formats : {kInt8Kv, kInt4Kv}) {
    auto cache = make_state(kMixer, formats, shape.cache());
    const auto whole = decode(cache, in, {300});
    CHECK(error_of_rows(whole, in, 250, coded_by(formats)) < 4e-6);
    for (const auto& split : {steps(300), std::vector<Index>{1, 99, 0, 0, 3, 195}}) {
      cache.truncate(0);
      const auto out = decode(cache, in, split);
      // A chunk of 3 has 6 rows per KV head.
      CHECK(largest_error(doubles_of(out.view()), doubles_of(whole.view())) < tolerance(6));
    }
  }
}

TEST_CASE("kv_cache: more keys than one split, and rolling back", "[quant]") {
  const Shape shape{1, 4, 1, 1300, 32, 32};
  const Inputs in(shape);
  auto cache = make_state(kMixer, kInt8Kv, shape.cache());
  decode(cache, in, {1290});
  const auto out = decode(cache, in, steps(10));
  CHECK(error_of_rows(out, in, 1290, coded_by(kInt8Kv)) < tolerance(4));
  cache.truncate(1290);
  const auto again = decode(cache, in, steps(10));
  CHECK(doubles_of(again.view()) == doubles_of(out.view()));
}

TEST_CASE("kv_cache: codes keep what they promise", "[quant]") {
  const Shape shape{1, 1, 1, 5, 37, 37};
  Inputs in(shape);
  for (Index d = 0; d < 37; ++d) in.k(0, 0, 3, d) = -in.k(0, 0, 2, d);
  for (Index d = 0; d < 37; ++d) in.k(0, 0, 4, d) = 0;
  for (const KvFormat& f : kFormats) {
    auto cache = make_state(kMixer, TokenwiseKv{f, f}, shape.cache());
    cache.append(in.k.view(), in.k.view());
    const KeyPlane& keys = cache.keys();
    for (Index t = 0; t < 5; ++t)
      for (Index d = 0; d < 37; ++d) {
        const KvGrid grid = keys.grid(0, 0, t, d);
        const float back = grid.decode(keys.code(0, 0, t, d)), x = in.k(0, 0, t, d);
        CHECK(std::abs(back - x) <= grid.scale * 0.5001f);
        CHECK(grid.encode(back) == keys.code(0, 0, t, d));
        CHECK(cache.values().code(0, 0, t, d) == keys.code(0, 0, t, d));
        if (f.symmetric && t == 3)
          CHECK(keys.code(0, 0, 3, d) - f.center() == f.center() - keys.code(0, 0, 2, d));
        if (t == 4) CHECK(back == 0.f);
      }
  }
}

TEST_CASE("kv_cache: keys in a rotated basis lose less to outliers", "[quant]") {
  // Blocks of 32, 4 and 1 channels.
  for (const Index dim : {32, 12, 5}) {
    const Shape shape{1, 2, 1, 70, dim, 16};
    Inputs in(shape);
    for (Index t = 0; t < 70; ++t) in.k(0, 0, t, 3) += 30;
    const auto error = [&](bool rotate, const std::vector<Index>& chunks) {
      const TokenwiseKv formats{{8, true}, {8, true}, rotate};
      auto cache = make_state(kMixer, formats, shape.cache());
      const auto seen = [&](reference::Rows rows, bool keys) {
        // Values as the cache has them; keys as they are.
        if (!keys) reference::code_tokens(rows, 0, rows.size(), 0, 8, true);
        return rows;
      };
      return error_of_rows(decode(cache, in, chunks), in, 0, seen);
    };
    const double by_steps = error(true, steps(70)), plain = error(false, steps(70));
    CHECK(std::abs(by_steps - error(true, {70})) < 1e-4);
    CHECK(by_steps < (dim == 32 ? 0.6 * plain : dim == 12 ? plain : 1.001 * plain));
    CHECK(by_steps < 0.3);
  }
}

TEST_CASE("kv_cache: numbers of E4M3", "[quant]") {
  const auto coded = [](reference::Rows rows, bool) {
    reference::code_e4m3(rows);
    return rows;
  };
  const Shape shapes[] = {{1, 4, 2, 70, 64, 64}, {2, 3, 1, 40, 21, 35}};
  for (const Shape& shape : shapes) {
    Inputs in(shape);
    in.v(0, 0, 5, 0) = 1e-3f;  // below the normal numbers of its row
    auto cache = make_state(kMixer, Float8Kv{}, shape.cache());
    CHECK(error_of_rows(decode(cache, in, steps(shape.N)), in, 0, coded) < 4e-6);
    CHECK(cache.bytes() == shape.B * shape.Hk * shape.N * (shape.D + shape.E + 8));
    cache.truncate(0);
    CHECK(error_of_rows(decode(cache, in, {shape.N}), in, 0, coded) < 4e-6);
    cache.truncate(shape.N - 1);
    in.k(0, 0, shape.N - 1, 1) = std::numeric_limits<float>::infinity();
    const auto out = decode(cache, in, {0});
    CHECK(std::isnan(out(0, 0, shape.N - 1, 0)));
  }
}

TEST_CASE("kv_cache: what is not finite stays with its token, and hidden tokens are not seen",
          "[quant]") {
  const Shape shape{1, 2, 1, 90, 24, 24};
  const Inputs clean(shape);
  const Softmax window{And{Causal{Align::bottom_right}, Window{30, 0}}};
  const auto last = [&](const Inputs& in, Index queries) {
    TokenwiseKvCache cache(kInt4Kv, shape.cache());
    cache.append(in.k.view(), in.v.view());
    Tensor<float, 4> out({1, 2, queries, 24});
    forward(window, in.q.view().slice(2, 90 - queries, queries), cache, out);
    return doubles_of(out.view());
  };
  Inputs spoiled(shape);
  spoiled.k(0, 0, 20, 3) = std::numeric_limits<float>::quiet_NaN();
  spoiled.v(0, 0, 21, 5) = std::numeric_limits<float>::infinity();
  CHECK(last(spoiled, 1) == last(clean, 1));
  CHECK(last(spoiled, 12) == last(clean, 12));
  spoiled.v(0, 0, 70, 5) = std::numeric_limits<float>::quiet_NaN();
  for (const double x : last(spoiled, 1)) CHECK(std::isnan(x));
}

TEST_CASE("kv_cache: other masks, scores and normalizers, storage of 16 bits", "[quant]") {
  const Shape shape{1, 4, 2, 60, 32, 32};
  const Inputs in(shape);
  const Softmax capped{Causal{Align::bottom_right}, SoftCap{2}};
  auto cache = make_state(capped, kInt8Kv, shape.cache());
  cache.append(in.k.view(), in.v.view());
  // The same numbers as floats.
  Tensor<float, 4> k({1, 2, 60, 32}), v({1, 2, 60, 32});
  const CodedKv source = cache.source();
  for (Index h = 0; h < 2; ++h) {
    source.read_keys<DefaultArch>(0, h, 0, 60, k.view().pointer(0, h), 32);
    source.read_values<DefaultArch>(0, h, 0, 60, v.view().pointer(0, h), 32);
  }
  Tensor<float, 4> out({1, 4, 1, 32}), expected({1, 4, 1, 32});
  const auto q = in.q.view().slice(2, 59, 1);
  forward(capped, q, cache, out);
  forward(capped, q, k, v, expected);
  CHECK(largest_error(doubles_of(out.view()), doubles_of(expected.view())) < tolerance(2));

  // Keys that 16 bits hold have the same codes when they come in 16 bits.
  Tensor<bf16, 4> k16({1, 2, 60, 32}), v16({1, 2, 60, 32}), q16({1, 4, 60, 32}),
      o16({1, 4, 60, 32});
  Inputs rounded(shape);
  const auto round = [](Tensor<float, 4>& x, Tensor<bf16, 4>& y) {
    for (Index i = 0; i < x.size(); ++i) {
      y.data()[i] = bf16(x.data()[i]);
      x.data()[i] = y.data()[i];
    }
  };
  round(rounded.k, k16);
  round(rounded.v, v16);
  round(rounded.q, q16);
  auto wide = make_state(kMixer, kInt8Kv, shape.cache());
  auto narrow = make_state(kMixer, kInt8Kv, shape.cache());
  const auto out32 = decode(wide, rounded, {60});
  prefill(kMixer, narrow, q16, k16, v16, o16);
  CHECK(largest_error(doubles_of(o16.view()), doubles_of(out32.view())) < 0x1p-8);
}

TEST_CASE("kv_cache: any number of threads gives the same bits, and no step allocates", "[quant]") {
  const Shape shape{2, 4, 2, 1100, 32, 32};
  const Inputs in(shape);
  CHECK(same_for_any_threads([&](const Context& ctx) {
    auto cache = make_state(kMixer, kInt4Kv, shape.cache());
    return doubles_of(decode(cache, in, {1097, 0, 0, 0}, ctx).view());
  }));
  auto cache = make_state(kMixer, kInt8Kv, shape.cache());
  decode(cache, in, {1000});
  Tensor<float, 3> out({2, 4, 32});
  CHECK(allocates_once([&](const Context& ctx) {
    step(kMixer, cache, in.q.view().select(2, 0), in.k.view().select(2, 0),
         in.v.view().select(2, 0), out, ctx);
  }));
}

TEST_CASE("kv_cache: refused calls name the mistake and change nothing", "[quant]") {
  const Shape shape{1, 2, 1, 4, 8, 8};
  auto cache = make_state(kMixer, kInt8Kv, shape.cache());
  const Inputs in(shape);
  decode(cache, in, {3});
  Tensor<float, 4> q({1, 2, 2, 8}), k({1, 1, 2, 8}), thin({1, 1, 2, 7}), out({1, 2, 2, 8});
  const auto refusal = [&](const auto& keys, const auto& values, auto& to) {
    const std::string text = message_of([&] { prefill(kMixer, cache, q, keys, values, to); });
    CHECK(cache.length() == 3);
    return text;
  };
  CHECK(contains(refusal(k, k, out), "no room for 2 more"));
  CHECK(contains(refusal(thin, k, out), "k [1, 1, 2, 7] does not fit"));
  CHECK(contains(refusal(k, thin, out), "v [1, 1, 2, 7] does not fit"));
  cache.truncate(0);
  CHECK(contains(message_of([&] { prefill(kMixer, cache, q, k, k, q.view().slice(1, 0, 1)); }),
                 "leading axes"));
  CHECK(cache.length() == 0);
  CHECK(contains(message_of([&] {
                   make_state(kMixer, TokenwiseKv{{3, true}, {8, true}}, shape.cache());
                 }),
                 "keys of 3 bits"));
  CHECK(contains(message_of([&] { make_state(kMixer, kInt8Kv, {0, 1, 1, 1, 1}); }), "positive"));
  CHECK(contains(message_of([&] { cache.truncate(1); }), "the cache has 0"));
}
