#include "quant/decoding.hpp"
#include "support/any_threads.hpp"
#include "support/message.hpp"
#include <weft/quant/kivi.hpp>
#include <weft/quant/saq.hpp>

// quant/kivi, quant/saq

using namespace weft;
using namespace weft::quant;
using namespace decoding;

namespace {

std::size_t size(Index n) { return static_cast<std::size_t>(n); }

/// What the query of token t sees of the t + 1 first tokens: the cache as t tokens left it, and the
/// new one as it is.
template <class Coded>
reference::Rows before_and_new(const reference::Rows& rows, const Coded& coded) {
  reference::Rows seen = coded(reference::Rows(rows.begin(), rows.end() - 1));
  seen.push_back(rows.back());
  return seen;
}

auto seen_by_kivi(const Kivi& o) {
  return [o](const reference::Rows& rows, bool keys) {
    return before_and_new(rows, [&](const reference::Rows& old) {
      return keys ? reference::kivi_keys(old, size(o.group), size(o.residual), o.key_bits)
                  : reference::kivi_values(old, size(o.group), size(o.residual), o.value_bits);
    });
  };
}

auto seen_by_saq(const Saq& o) {
  return [o](const reference::Rows& rows, bool keys) {
    const auto code = [&](reference::Rows& x, std::size_t begin, std::size_t end, int bits) {
      if (keys)
        reference::code_channels(x, begin, end, size(o.group), bits);
      else
        reference::code_tokens(x, begin, end, size(o.group), bits, false);
    };
    return before_and_new(rows, [&](const reference::Rows& old) {
      return reference::saq_rows(old, size(o.chunk), o.bits, code);
    });
  };
}

/// All codes of a plane's first tokens.
template <class Plane>
std::vector<int> codes_of(const Plane& plane, Index heads, Index tokens) {
  std::vector<int> codes;
  for (Index h = 0; h < heads; ++h)
    for (Index t = 0; t < tokens; ++t)
      for (Index d = 0; d < plane.dim(); ++d) codes.push_back(plane.code(0, h, t, d));
  return codes;
}

}  // namespace

TEST_CASE("kivi: steps see what the paper's policy has coded", "[quant]") {
  struct Row {
    Shape shape;
    Kivi options;
  };
  const Row rows[] = {
      {{1, 2, 2, 150, 48, 64}, {2, 2, 32, 32}},  // groups of whole registers
      {{1, 4, 1, 150, 17, 48}, {4, 2, 16, 48}},
      {{2, 3, 1, 90, 20, 24}, {8, 4, 8, 24}},  // groups smaller than a register
      {{1, 1, 1, 40, 5, 9}, {2, 8, 3, 6}},
      {{1, 2, 1, 300, 32, 128}, {4, 4, 128, 128}},  // groups of two panels
  };
  for (const auto& [shape, options] : rows) {
    INFO("keys " << options.key_bits << " bits, groups of " << options.group);
    const Inputs in(shape);
    auto cache = make_state(kMixer, options, shape.cache());
    const auto out = decode(cache, in, steps(shape.N));
    CHECK(error_of_rows(out, in, 0, seen_by_kivi(options)) < tolerance(shape.Hq / shape.Hk));
  }
}

TEST_CASE("kivi: up to R tokens it is plain attention", "[quant]") {
  const Shape shape{1, 2, 2, 32, 32, 32};
  const Inputs in(shape);
  auto cache = make_state(kMixer, Kivi{}, shape.cache());
  const auto plain = [](const reference::Rows& rows, bool) { return rows; };
  CHECK(error_of_rows(decode(cache, in, steps(32)), in, 0, plain) < 2e-6);
}

TEST_CASE("kivi: prefill sees its own tokens in full precision and leaves the cache of steps",
          "[quant]") {
  const Shape shape{1, 4, 2, 140, 32, 32};
  const Inputs in(shape);
  const Kivi options{4, 2, 16, 32};
  auto whole = make_state(kMixer, options, shape.cache());
  const auto out = decode(whole, in, {140});
  const auto plain = [](const reference::Rows& rows, bool) { return rows; };
  CHECK(error_of_rows(out, in, 0, plain) < 4e-6);
  CHECK(whole.coded_keys() == 128);
  CHECK(whole.coded_values() == 108);
  for (const auto& split : {steps(140), std::vector<Index>{40, 0, 0, 70, 0, 27}}) {
    auto cache = make_state(kMixer, options, shape.cache());
    decode(cache, in, split);
    CHECK(cache.coded_keys() == 128);
    CHECK(codes_of(cache.keys(), 2, 128) == codes_of(whole.keys(), 2, 128));
    CHECK(codes_of(cache.values(), 2, 108) == codes_of(whole.values(), 2, 108));
    const auto rest = [](const KiviCache& c) { return doubles_of(c.source().value_side.kept); };
    CHECK(rest(cache) == rest(whole));
  }
}

TEST_CASE("kivi: eight bits are within a hundredth, and a group of equal numbers is exact",
          "[quant]") {
  const Shape shape{1, 2, 1, 96, 32, 32};
  Inputs in(shape);
  for (Index t = 0; t < 96; ++t) in.k(0, 0, t, 7) = in.v(0, 0, t, 7) = 0.7f;
  auto cache = make_state(kMixer, Kivi{8, 8, 32, 32}, shape.cache());
  const auto plain = [](const reference::Rows& rows, bool) { return rows; };
  CHECK(error_of_rows(decode(cache, in, steps(96)), in, 0, plain) < 1e-2);
  CHECK(cache.keys().grid(0, 0, 40, 7).decode(cache.keys().code(0, 0, 40, 7)) == 0.7f);
}

TEST_CASE("saq: steps see chunks that lose bits as they age", "[quant]") {
  struct Row {
    Shape shape;
    Saq options;
  };
  const Row rows[] = {{{1, 2, 1, 140, 32, 32}, {16, 32, {8, 4, 2}}},
                      {{1, 4, 2, 70, 12, 20}, {4, 12, {8, 2}}},
                      {{1, 2, 1, 60, 16, 16}, {8, 16, {4}}}};
  for (const auto& [shape, options] : rows) {
    const Inputs in(shape);
    auto cache = make_state(kMixer, options, shape.cache());
    const auto out = decode(cache, in, steps(shape.N));
    CHECK(error_of_rows(out, in, 0, seen_by_saq(options)) < tolerance(2));
    auto whole = make_state(kMixer, options, shape.cache());
    decode(whole, in, {shape.N});
    for (std::size_t i = 0; i < options.bits.size(); ++i) {
      const auto &a = cache.stairs()[i], &b = whole.stairs()[i];
      CHECK(a.count == b.count);
      CHECK(codes_of(a.keys, shape.Hk, a.count) == codes_of(b.keys, shape.Hk, a.count));
      CHECK(codes_of(a.values, shape.Hk, a.count) == codes_of(b.values, shape.Hk, a.count));
    }
  }
}

TEST_CASE("saq: with one level the keys are those of KIVI", "[quant]") {
  const Shape shape{1, 1, 1, 100, 16, 16};
  const Inputs in(shape);
  auto stairs = make_state(kMixer, Saq{8, 24, {2}}, shape.cache());
  auto kivi = make_state(kMixer, Kivi{2, 2, 8, 24}, shape.cache());
  decode(stairs, in, steps(100));
  decode(kivi, in, steps(100));
  CHECK(stairs.stairs()[0].count == kivi.coded_keys());
  CHECK(codes_of(stairs.stairs()[0].keys, 1, 96) == codes_of(kivi.keys(), 1, 96));
}

TEST_CASE("kivi and saq: any number of threads gives the same bits", "[quant]") {
  const Shape shape{2, 4, 2, 1100, 32, 32};
  const Inputs in(shape);
  CHECK(same_for_any_threads([&](const Context& ctx) {
    auto kivi = make_state(kMixer, Kivi{2, 4, 32, 64}, shape.cache());
    auto all = doubles_of(decode(kivi, in, {1095, 0, 0}, ctx).view());
    auto saq = make_state(kMixer, Saq{}, shape.cache());
    const auto more = doubles_of(decode(saq, in, {1095, 0, 0}, ctx).view());
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }));
}

TEST_CASE("kivi and saq: options that cannot be are refused", "[quant]") {
  const auto refusal = [](const auto& options, Index dim) {
    return message_of([&] { make_state(kMixer, options, {1, 1, 64, 8, dim}); });
  };
  CHECK(contains(refusal(Kivi{3, 2, 8, 32}, 8), "keys of 3 bits"));
  CHECK(contains(refusal(Kivi{2, 2, 8, 20}, 8), "multiple of the group size 8"));
  CHECK(contains(refusal(Kivi{2, 2, 8, 32}, 12), "groups of 8 do not divide"));
  CHECK(contains(refusal(Saq{8, 32, {4, 8}}, 8), "levels must fall"));
  CHECK(contains(refusal(Saq{8, 32, {}}, 8), "below full precision"));
  CHECK(contains(refusal(Saq{8, 20, {4}}, 8), "multiple of the group size 8"));
  CHECK(contains(refusal(Saq{8, 32, {4}}, 12), "groups of 8 do not divide"));
  auto cache = make_state(kMixer, Kivi{2, 2, 8, 8}, {1, 1, 4, 8, 8});
  Tensor<float, 4> five({1, 1, 5, 8});
  CHECK(contains(message_of([&] { prefill(kMixer, cache, five, five, five, five.clone()); }),
                 "no room for 5 more"));
  CHECK(cache.length() == 0);
}
