#include "reference/informer.hpp"
#include "support/allocations.hpp"
#include "support/any_threads.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/attention/kernelized/synthesizer.hpp>

// kernelized/synthesizer

using namespace weft;
using reference::Rows;

namespace {

/// All four forms for inputs of up to L tokens.
template <class T>
struct Setup {
  Setup(Index B, Index H, Index N, Index L, Index d, Index E, Index hidden, Index a)
      : x(even_values<T, 4>({B, H, N, d}, 1, -2, 2)),
        v(even_values<T, 4>({B, H, N, E}, 2)),
        w1(even_values<T, 3>({H, hidden, d}, 3)),
        w2(even_values<T, 3>({H, L, hidden}, 4)),
        r(even_values<T, 3>({H, L, L}, 5, -3, 3)),
        r1(even_values<T, 3>({H, L, 3}, 6)),
        r2(even_values<T, 3>({H, L, 3}, 7)),
        wa(even_values<T, 3>({H, a, d}, 8)),
        wb(even_values<T, 3>({H, L / a, d}, 9)),
        b1(even_values<T, 2>({H, hidden}, 10)),
        b2(even_values<T, 2>({H, L}, 11)) {}

  SynthesizerDense<T> dense(bool causal) const {
    return {w1.view(), b1.view(), w2.view(), b2.view(), causal};
  }

  template <class F>
  std::vector<double> written(F f) const {
    const Poisoned<T, 4> out(v.shape());
    f(out.view());
    CHECK(out.guards_intact());
    return doubles_of(out.view());
  }

  /// Form 0 .. 4: dense, random, factorized random, factorized dense by repetition and by tiling.
  std::vector<double> run(int form, bool causal, const Context& ctx = Context()) const {
    return written([&](const auto& out) {
      const auto tiling = form == 3 ? SynthesizerTiling::repeat : SynthesizerTiling::tile;
      switch (form) {
        case 0: return forward(dense(causal), x, v, out, ctx);
        case 1: return forward(SynthesizerRandom<T>{r.view(), causal}, v, out, ctx);
        case 2:
          return forward(SynthesizerFactorizedRandom<T>{r1.view(), r2.view(), causal}, v, out, ctx);
        default:
          return forward(SynthesizerFactorizedDense<T>{wa.view(), wb.view(), tiling, causal}, x, v,
                         out, ctx);
      }
    });
  }

  Rows logits(int form, Index b, Index h) const {
    const auto input = double_rows(x.view().select(0, b).select(0, h));
    const auto part = [h](const auto& w) { return double_rows(w.view().select(0, h)); };
    const auto bias = [h](const auto& w) { return doubles_of(w.view().select(0, h)); };
    switch (form) {
      case 0: return reference::dense_logits(input, part(w1), bias(b1), part(w2), bias(b2));
      case 1: return part(r);
      case 2: return reference::products(part(r1), part(r2));
      default: return reference::outer_logits(input, part(wa), part(wb), form == 3);
    }
  }

  std::vector<double> expected(int form, bool causal) const {
    std::vector<double> all;
    for (Index b = 0; b < x.extent(0); ++b)
      for (Index h = 0; h < x.extent(1); ++h)
        for (const auto& row : reference::synthesized(
                 logits(form, b, h), double_rows(v.view().select(0, b).select(0, h)), causal))
          all.insert(all.end(), row.begin(), row.end());
    return all;
  }

  Tensor<T, 4> x, v;
  Tensor<T, 3> w1, w2, r, r1, r2, wa, wb;
  Tensor<T, 2> b1, b2;
};

}  // namespace

TEST_CASE("Synthesizers agree with the reference", "[kernelized]") {
  const Setup<double> exact[] = {
      {1, 1, 1, 1, 1, 1, 1, 1}, {2, 3, 7, 12, 5, 9, 6, 3}, {1, 2, 40, 40, 8, 16, 24, 8}};
  for (int form = 0; form < 5; ++form)
    for (const bool causal : {false, true}) {
      INFO("form " << form << (causal ? ", causal" : ""));
      for (const auto& s : exact)
        CHECK(largest_error(s.run(form, causal), s.expected(form, causal)) < 1e-13);
    }
  const Setup<float> rounded(2, 2, 70, 90, 16, 20, 33, 9);
  for (int form = 0; form < 5; ++form) {
    CHECK(largest_error(rounded.run(form, true), rounded.expected(form, true)) < 1e-5);
    CHECK(same_for_any_threads([&](const Context& ctx) { return rounded.run(form, true, ctx); }));
  }
  for (int form : {0, 3}) CHECK(Setup<float>(0, 1, 3, 4, 2, 2, 2, 2).run(form, true).empty());
}

TEST_CASE("Synthesizers: causal ones do not see later tokens, constants stay", "[kernelized]") {
  Setup<double> s(1, 2, 9, 12, 5, 4, 6, 3), changed(1, 2, 9, 12, 5, 4, 6, 3);
  for (Index h = 0; h < 2; ++h)
    for (Index e = 0; e < 4; ++e) changed.v(0, h, 8, e) = changed.x(0, h, 8, e) = 100;
  for (int form = 0; form < 5; ++form) {
    const auto one = s.run(form, true), other = changed.run(form, true);
    for (std::size_t i = 0; i < one.size(); ++i)
      if (i / 4 % 9 != 8) CHECK(one[i] == other[i]);
  }
  std::fill_n(s.v.data(), s.v.size(), -0.25);
  for (int form = 0; form < 5; ++form)
    for (const double x : s.run(form, false)) CHECK(std::abs(x + 0.25) < 1e-15);
}

TEST_CASE("Synthesizers refuse what does not fit", "[kernelized][errors]") {
  const auto refusal = [](int form, auto change) {
    Setup<float> s(1, 2, 6, 6, 4, 3, 5, 2);
    change(s);
    return message_of([&] { s.run(form, false); });
  };
  using Three = Tensor<float, 3>;
  CHECK(contains(refusal(0, [](auto& s) { s.w1 = Three({2, 5, 3}); }), "w1 is [2, 5, 3]"));
  CHECK(contains(refusal(0, [](auto& s) { s.w2 = Three({2, 5, 5}); }), "w2 is [2, 5, 5]"));
  CHECK(contains(refusal(0, [](auto& s) { s.b1 = Tensor<float, 2>({2, 4}); }), "b1 [2, 4]"));
  CHECK(contains(refusal(1, [](auto& s) { s.r = Three({2, 6, 5}); }), "for 6 tokens"));
  CHECK(contains(refusal(2, [](auto& s) { s.r2 = Three({1, 6, 3}); }), "columns is [1, 6, 3]"));
  CHECK(contains(refusal(3, [](auto& s) { s.wa = Three({2, 1, 4}); }), "1 x 3 logits for 6"));
  CHECK(contains(refusal(3,
                         [](auto& s) {
                           s.x = Tensor<float, 4>({1, 1, 6, 4});
                         }),
                 "same leading axes"));
}

TEST_CASE("Synthesizers take their memory from the context", "[kernelized]") {
  const Setup<float> s(2, 2, 20, 20, 5, 4, 6, 4);
  Tensor<float, 4> out(s.v.shape());
  CHECK(allocates_once([&](const Context& ctx) { forward(s.dense(true), s.x, s.v, out, ctx); }));
  const SynthesizerRandom<float> random{s.r.view()};
  CHECK(allocates_once([&](const Context& ctx) { forward(random, s.v, out, ctx); }));
  const SynthesizerFactorizedDense<float> outer{s.wa.view(), s.wb.view()};
  CHECK(allocates_once([&](const Context& ctx) { forward(outer, s.x, s.v, out, ctx); }));
}
