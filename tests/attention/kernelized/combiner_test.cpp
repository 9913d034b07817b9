#include "reference/combiner.hpp"

#include "support/allocations.hpp"
#include "support/any_threads.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/attention/kernelized/combiner.hpp>

// kernelized/combiner

using namespace weft;
using reference::Tokens;

namespace {

enum class Form { fixed, fixed_all, log_sparse, axial, axial_keys, mixture, columns };
constexpr Form kForms[] = {Form::fixed,      Form::fixed_all, Form::log_sparse, Form::axial,
                           Form::axial_keys, Form::mixture,   Form::columns};

template <class T>
struct Setup {
  Setup(Index B, Index H, Index N, Index segment, Index D, Index E)
      : q(even_values<T, 4>({B, H, N, D}, 1, -2, 2)),
        k(even_values<T, 4>({B, H, N, D}, 2, -2, 2)),
        v(even_values<T, 4>({B, H, N, E}, 3)),
        row_keys(even_values<T, 4>({B, H, N, D}, 4)),
        W(segment) {}

  std::vector<double> run(Form form, const Context& ctx = Context()) const {
    const Poisoned<T, 4> out(v.shape());
    const auto with = [&](const auto& mixer) { forward(mixer, q, k, v, out.view(), ctx); };
    switch (form) {
      case Form::fixed: with(CombinerFixed{W}); break;
      case Form::fixed_all: with(CombinerFixed{W, false}); break;
      case Form::log_sparse: with(CombinerLogSparse{}); break;
      case Form::axial: with(CombinerAxial<T>{W}); break;
      case Form::axial_keys: with(CombinerAxial<T>{W, row_keys.view()}); break;
      case Form::mixture: with(CombinerMixture{W}); break;
      case Form::columns: with(CombinerMixture{W, false}); break;
    }
    CHECK(out.guards_intact());
    return doubles_of(out.view());
  }

  Tokens tokens(const Tensor<T, 4>& x, Index b, Index h) const {
    Tokens all;
    for (Index n = 0; n < x.extent(2); ++n)
      all.push_back(doubles_of(x.view().select(0, b).select(0, h).select(0, n)));
    return all;
  }

  Tokens expected_head(Form form, Index b, Index h) const {
    const reference::CombinerInputs in{tokens(q, b, h), tokens(k, b, h), tokens(v, b, h),
                                       static_cast<std::size_t>(W),
                                       1 / std::sqrt(static_cast<double>(q.extent(3)))};
    switch (form) {
      case Form::fixed: return reference::combiner_fixed(in, true);
      case Form::fixed_all: return reference::combiner_fixed(in, false);
      case Form::log_sparse: return reference::combiner_log_sparse(in);
      case Form::axial: return reference::combiner_axial(in, in.k);
      case Form::axial_keys: return reference::combiner_axial(in, tokens(row_keys, b, h));
      default: return reference::combiner_mixture(in, form == Form::mixture);
    }
  }

  std::vector<double> expected(Form form) const {
    std::vector<double> all;
    for (Index b = 0; b < q.extent(0); ++b)
      for (Index h = 0; h < q.extent(1); ++h)
        for (const auto& row : expected_head(form, b, h))
          all.insert(all.end(), row.begin(), row.end());
    return all;
  }

  Tensor<T, 4> q, k, v, row_keys;
  Index W;
};

std::vector<double> causal_softmax(const Setup<double>& s) {
  Tensor<double, 4> out(s.v.shape());
  forward(Softmax{Causal{Align::bottom_right}}, s.q, s.k, s.v, out);
  return doubles_of(out.view());
}

}  // namespace

TEST_CASE("Combiner agrees with the reference", "[kernelized]") {
  const Setup<double> exact[] = {{1, 1, 1, 1, 1, 1},
                                 {2, 3, 12, 4, 4, 5},
                                 {1, 2, 17, 17, 3, 9},
                                 {1, 1, 33, 11, 8, 4},
                                 {1, 2, 96, 8, 5, 17}};
  const Setup<float> rounded(2, 2, 140, 14, 24, 20);
  for (const Form form : kForms) {
    INFO("form " << static_cast<int>(form));
    for (const auto& s : exact) CHECK(largest_error(s.run(form), s.expected(form)) < 1e-13);
    CHECK(largest_error(rounded.run(form), rounded.expected(form)) < 1e-5);
    CHECK(same_for_any_threads([&](const Context& ctx) { return rounded.run(form, ctx); }));
    CHECK(Setup<float>(0, 1, 4, 2, 2, 2).run(form).empty());
    CHECK(Setup<float>(1, 1, 0, 2, 2, 2).run(form).empty());
  }
}

TEST_CASE("Combiner: where it is softmax, where constants stay, what it does not see",
          "[kernelized]") {
  const Setup<double> one_row(1, 2, 20, 20, 6, 4), single(1, 2, 20, 1, 6, 4);
  for (const Form form : {Form::fixed, Form::axial})
    CHECK(largest_error(one_row.run(form), causal_softmax(one_row)) < 1e-14);
  CHECK(largest_error(single.run(Form::fixed), causal_softmax(single)) < 1e-13);

  Setup<double> s(1, 2, 24, 4, 6, 4), changed(1, 2, 24, 4, 6, 4);
  for (auto* x : {&changed.q, &changed.k, &changed.v, &changed.row_keys})
    for (Index h = 0; h < 2; ++h) std::fill_n(x->view().pointer(0, h, 23), x->extent(3), 9.0);
  for (const Form form : kForms) {
    if (form == Form::fixed_all) continue;
    const auto before = s.run(form), after = changed.run(form);
    for (std::size_t i = 0; i < before.size(); ++i)
      if (i / 4 % 24 != 23) CHECK(std::abs(before[i] - after[i]) < 1e-14);
  }
  std::fill_n(s.v.data(), s.v.size(), 0.75);
  for (const Form form : kForms)
    for (const double x : s.run(form)) CHECK(std::abs(x - 0.75) < 1e-14);
}

TEST_CASE("Combiner: the masks classify as they hide", "[kernelized]") {
  using detail::SpanMask;
  for (const SpanMask& mask :
       {SpanMask::all(), SpanMask::up_to(), SpanMask::earlier(1), SpanMask::earlier(3),
        SpanMask::later(), SpanMask::others(), SpanMask::others().without(1)})
    for (Index batch = 0; batch < 2; ++batch)
      for (Index i0 = 0; i0 < 12; ++i0)
        for (Index j0 = 0; j0 < 12; ++j0) {
          const Tile tile{batch, {i0, i0 + 2}, {j0, j0 + 3}, 20, 20};
          Index seen = 0;
          for (Index i = i0; i < i0 + 3; ++i) {
            const Row row{batch, 0, i, 20, 20};
            const auto lanes = mask.lanes<double, DefaultArch>(row, j0);
            for (Index j = j0; j < j0 + 4; ++j) seen += mask.visible(row, j) ? 1 : 0;
            for (Index l = 0; l < kWidth<double>; ++l)
              CHECK(lanes.get(static_cast<std::size_t>(l)) == mask.visible(row, j0 + l));
          }
          if (mask.classify(tile) == Coverage::empty) CHECK(seen == 0);
          if (mask.classify(tile) == Coverage::full) CHECK(seen == 12);
        }
}

TEST_CASE("Combiner refuses what does not fit", "[kernelized][errors]") {
  const auto refusal = [](auto change) {
    Setup<float> s(1, 2, 12, 4, 5, 3);
    change(s);
    return message_of([&] { s.run(Form::axial_keys); });
  };
  using Four = Tensor<float, 4>;
  CHECK(contains(refusal([](auto& s) { s.W = 5; }), "rows of 5 in 12 tokens"));
  CHECK(contains(refusal([](auto& s) { s.W = 0; }), "rows of 0"));
  CHECK(contains(refusal([](auto& s) { s.k = Four({1, 2, 12, 4}); }), "k is [1, 2, 12, 4]"));
  CHECK(contains(refusal([](auto& s) { s.v = Four({1, 2, 11, 4}); }), "leading axes"));
  CHECK(contains(refusal([](auto& s) { s.row_keys = Four({1, 1, 12, 5}); }), "row_keys are"));
}

TEST_CASE("Combiner takes its memory from the context", "[kernelized]") {
  const Setup<float> s(1, 2, 48, 8, 6, 4);
  Tensor<float, 4> out(s.v.shape());
  const auto once = [&](const auto& mixer) {
    return allocates_once([&](const Context& ctx) { forward(mixer, s.q, s.k, s.v, out, ctx); });
  };
  CHECK(once(CombinerFixed{8}));
  CHECK(once(CombinerLogSparse{}));
  CHECK(once(CombinerAxial<float>{8}));
  CHECK(once(CombinerMixture{8}));
}
