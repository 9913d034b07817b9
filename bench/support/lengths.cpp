#include "lengths.hpp"

#include "inputs.hpp"
#include <weft/attention/softmax/mixer.hpp>

#include <cmath>
#include <limits>

namespace bench {
namespace {

Call softmax_call(const Attention& a, Index length, const weft::Context& context) {
  return shared_call([&context, causal = a.causal,
                      q = uniform<float>({1, a.heads, length, a.key_dim}, 1),
                      k = uniform<float>({1, a.heads, length, a.key_dim}, 2),
                      v = uniform<float>({1, a.heads, length, a.value_dim}, 3),
                      out = weft::Tensor<float, 4>({1, a.heads, length, a.value_dim})]() mutable {
    const weft::Index right = causal ? 0 : -1;
    weft::forward(weft::Softmax{weft::Window{-1, right}}, q, k, v, out, context);
  });
}

Row row_of(const char* question, const std::string& variant, const Attention& a) {
  return {.name = row_name(std::string(question) + "/" + variant + "/f32",
                           {{"H", a.heads}, {"D", a.key_dim}, {"E", a.value_dim}}),
          .calls = 1};
}

/// Counters only: the row has no call of its own to time.
template <class Count>
struct Counters {
  Count count;

  void operator()() const {}
  void add_counters(benchmark::State& state) const { count(state); }
};
template <class Count>
Counters(Count) -> Counters<Count>;

/// The time of `own` over that of `other`, both repeated where they are short.
double ratio_of(const Call& own, const Call& other) {
  constexpr double long_enough = 5e-3;
  own();
  other();
  const double start = row_clock(1);
  own();
  const double once = std::max(row_clock(1) - start, 1e-6);
  const Index calls = std::max<Index>(1, static_cast<Index>(long_enough / once));
  const auto repeated = [calls](const Call& call) {
    return [&call, calls] {
      for (Index i = 0; i < calls; ++i) call();
    };
  };
  auto first = repeated(own), second = repeated(other);
  const auto [a, b] = least_seconds(first, second, 1, 9);
  return a / b;
}

}  // namespace

void add_crossover(const std::string& variant, const Attention& other, CallOfLength make,
                   std::vector<Index> lengths) {
  const auto softmax = [=](Index length, const weft::Context& context) {
    return softmax_call(other, length, context);
  };
  add_crossover(variant, other, std::move(make), softmax, std::move(lengths));
}

void add_crossover(const std::string& variant, const Attention& shape, CallOfLength make,
                   CallOfLength other, std::vector<Index> lengths) {
  row_of("crossover", variant, shape).add([=](const weft::Context& context) {
    return Counters{[=, &context](benchmark::State& state) {
      double last_ratio = 0;
      Index last = 0;
      for (const Index length : lengths) {
        const double ratio = ratio_of(make(length, context), other(length, context));
        state.counters["of_softmax_" + std::to_string(length)] = ratio;
        if (ratio < 1) {
          // Between two lengths both logarithms are taken to lie on a line.
          const double part = last == 0 ? 1 : std::log(last_ratio) / std::log(last_ratio / ratio);
          const double step =
              last == 0 ? 1 : static_cast<double>(length) / static_cast<double>(last);
          state.counters["crossover"] = static_cast<double>(length) * std::pow(step, part - 1);
          return;
        }
        last_ratio = ratio;
        last = length;
      }
    }};
  });
}

void add_per_token(const std::string& variant, const Attention& shape, CallOfLength make) {
  row_of("per_token", variant, shape).add([=](const weft::Context& context) {
    return Counters{[=, &context](benchmark::State& state) {
      constexpr Index lengths[] = {1024, 4096, 16384, 65536};
      double least = std::numeric_limits<double>::max(), most = 0;
      std::vector<Call> calls;
      for (const Index length : lengths) calls.push_back(make(length, context));
      std::vector<double> best(calls.size(), std::numeric_limits<double>::max());
      for (int round = 0; round < 5; ++round)
        for (std::size_t i = 0; i < calls.size(); ++i) {
          const Index repeats = lengths[3] / lengths[i];
          const double start = row_clock(1);
          for (Index r = 0; r < repeats; ++r) calls[i]();
          best[i] = std::min(best[i], row_clock(1) - start);
        }
      for (std::size_t i = 0; i < calls.size(); ++i) {
        const double per_token = best[i] / static_cast<double>(lengths[3]) * 1e9;
        state.counters["ns_" + std::to_string(lengths[i])] = per_token;
        least = std::min(least, per_token);
        most = std::max(most, per_token);
      }
      state.counters["spread"] = most / least;
    }};
  });
}

}  // namespace bench
