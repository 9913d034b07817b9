#include "golden/attention.hpp"
#include "golden/registry.hpp"
#include <weft/attention/softmax.hpp>

#include <limits>

// softmax/sdpa, softmax/varlen

namespace golden {
namespace {

using namespace weft;

/// The soft-cap of a case, or none.
struct OptionalCap {
  double cap = 0;

  template <class V>
  V operator()(V s, const Row& row, Index j0) const noexcept {
    return cap > 0 ? SoftCap{cap}(s, row, j0) : s;
  }
};

/// All options of sdpa.safetensors in one mixer. What a case does not use is neutral: an open
/// window, a bias of 0, a mask of 1, a sink of -inf.
template <class T>
class Options {
 public:
  using AnyMask = And<And<Window, Or<Window, FirstKeys>>, BoolMask>;
  using AnyScore = Chain<OptionalCap, AdditiveBias<T>>;

  Options(const SafetensorsFile& file, const std::string& name, Index heads)
      : options_(case_options(file, name)),
        sinks_({heads}),
        bias_({1, 1, 1, 1}),
        mask_({1, 1, 1, 1}) {
    std::fill_n(sinks_.data(), heads, -std::numeric_limits<T>::infinity());
    mask_(0, 0, 0, 0) = 1;
    if (file.contains(name + ".sink")) sinks_ = file.read<T, 1>(name + ".sink");
    if (file.contains(name + ".bias")) bias_ = file.read<T, 4>(name + ".bias");
    if (file.contains(name + ".mask")) mask_ = file.read<std::uint8_t, 4>(name + ".mask");
  }

  double scale() const { return options_.value("scale", 0.0); }

  /// Bottom-right or top-left causal, or neither.
  Window causal() const {
    const std::string mode = options_.value("mode", "full");
    if (mode == "causal_br") return {-1, 0, Align::bottom_right};
    if (mode == "causal_tl") return {-1, 0, Align::top_left};
    require(mode == "full", "unknown mode \"", mode, "\"");
    return {};
  }

  /// Whether only the mode and the scale differ from plain attention.
  bool is_simple() const {
    for (const char* option : {"window", "softcap", "bias", "mask", "sink"}) {
      if (options_.contains(option) && !options_[option].is_null()) return false;
    }
    return true;
  }

  Softmax<AnyMask, AnyScore, SinkSoftmax<T>> mixer() const {
    Window window;
    if (options_.contains("window") && options_["window"].is_array()) {
      window = {options_["window"].at(0), options_["window"].at(1)};
    }
    const FirstKeys sink_tokens{options_.value("sink_tokens", Index{0})};
    return {{{causal(), {window, sink_tokens}}, BoolMask(mask_)},
            {{options_.value("softcap", 0.0)}, AdditiveBias<T>(bias_)},
            SinkSoftmax<T>(sinks_),
            scale()};
  }

  const Tensor<T, 1>& sinks() const noexcept { return sinks_; }

 private:
  nlohmann::json options_;
  Tensor<T, 1> sinks_;
  Tensor<T, 4> bias_;
  Tensor<std::uint8_t, 4> mask_;
};

/// The log-sum-exp with the sink of each head as one more key.
template <class T>
Tensor<T, 3> with_sinks(const Tensor<T, 3>& lse, const Tensor<T, 1>& sinks) {
  Tensor<T, 3> out = lse.clone();
  for (Index b = 0; b < out.extent(0); ++b) {
    for (Index h = 0; h < out.extent(1); ++h) {
      for (Index i = 0; i < out.extent(2); ++i) {
        const T top = std::max(out(b, h, i), sinks(h));
        const T sum = std::exp(out(b, h, i) - top) + std::exp(sinks(h) - top);
        out(b, h, i) = top + std::log(sum);
      }
    }
  }
  return out;
}

template <class T>
void run_sdpa_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const Inputs<T> in(file, name);
  const Options<T> options(file, name, in.q.extent(1));
  const Tensor<T, 3> lse = check_forward(c, file, name, options.mixer(), in);
  if (file.contains(name + ".lse_with_sink")) {
    c.compare("lse with sink", with_sinks(lse, options.sinks()),
              file.read<double, 3>(name + ".lse_with_sink"));
  }
  if (options.is_simple()) {
    check_forward(c, file, name,
                  Softmax{options.causal(), NoScore{}, PlainSoftmax{}, options.scale()}, in);
  }
}

void run_sdpa(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_sdpa_case<decltype(type)>(c, file, name);
  });
}

/// Ragged batches: q [Tq, Hq, D], k [Tk, Hk, D], v [Tk, Hk, E].
template <class T>
void run_varlen_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto q = file.read<T, 3>(name + ".q");
  const auto k = file.read<T, 3>(name + ".k");
  const auto v = file.read<T, 3>(name + ".v");
  const auto cu_q = file.read<std::int32_t, 1>(name + ".cu_q");
  const auto cu_k = file.read<std::int32_t, 1>(name + ".cu_k");
  auto out = unwritten<T, 3>({q.extent(0), q.extent(1), v.extent(2)});
  auto lse = unwritten<T, 2>({q.extent(0), q.extent(1)});
  const Window mask{-1, is_causal(file, name) ? 0 : -1};
  forward_ragged_with_lse(Softmax{mask}, q, k, v, cu_q, cu_k, out, lse);
  const double scale = scale_or_default(0, q.extent(2));
  const Tolerance tolerance = tolerance_for_logits(largest_logit(q, k, scale));
  c.compare("out", out, file.read<double, 3>(name + ".out"), tolerance);
  c.compare("lse", lse, file.read<double, 2>(name + ".lse"), tolerance);
}

void run_varlen(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_varlen_case<decltype(type)>(c, file, name);
  });
}

constexpr Mechanism kMechanisms[] = {
    {"softmax/sdpa", run_sdpa},
    {"softmax/varlen", run_varlen},
};

}  // namespace

std::span<const Mechanism> softmax_mechanisms() { return kMechanisms; }

}  // namespace golden
