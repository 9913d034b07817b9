#include "golden/registry.hpp"
#include "golden/tokens.hpp"
#include <weft/attention/linear/focused.hpp>
#include <weft/attention/linear/inline_attention.hpp>
#include <weft/attention/linear/simplified.hpp>
#include <weft/attention/linear/spectral.hpp>

// linear/slab_sla, linear/flatten_focused, linear/inline_attention, linear/essa

namespace golden {
namespace {

using namespace weft;

/// Tokens of a square image as a map.
template <class X>
auto square(X&& tokens) {
  const auto side = std::lround(std::sqrt(static_cast<double>(tokens.extent(1))));
  return map_of_tokens(view_of(tokens), static_cast<Index>(side));
}

// --- SLAB and FLatten

template <class T>
DepthwiseConv<T> shared_conv(const SafetensorsFile& file, const std::string& name, Index heads) {
  const auto weight = file.read<T, 4>(name + ".dwc_weight");
  const auto bias = file.read<T, 1>(name + ".dwc_bias");
  return shared_by_heads<T>(weight.view().select(1, 0), bias.view(), heads);
}

template <class T, class M>
void check_maps(Case& c, const SafetensorsFile& file, const std::string& name, const M& mixer) {
  const TokenInputs<T> in(file, name);
  auto out = unwritten<T, 3>(in.q.shape());
  forward(mixer, square(in.q), square(in.k), square(in.v), square(out));
  c.compare("out", out, file.read<double, 3>(name + ".out"));
}

void run_simplified(const SafetensorsFile& file, Report& report) {
  run_each(file, report, [&](auto type, Case& c, const std::string& name) {
    using T = decltype(type);
    const Index heads = number(file, name + ".heads");
    const auto conv = shared_conv<T>(file, name, heads);
    const auto position = file.read<T, 3>(name + ".pos");
    check_maps<T>(c, file, name,
                  SimplifiedAttention<T>{heads, position.view().select(0, 0), &conv});
  });
}

void run_focused(const SafetensorsFile& file, Report& report) {
  run_each(file, report, [&](auto type, Case& c, const std::string& name) {
    using T = decltype(type);
    const Index heads = number(file, name + ".heads");
    const auto conv = shared_conv<T>(file, name, heads);
    const auto position = file.read<T, 3>(name + ".pos");
    const auto scale = file.read<T, 3>(name + ".scale_param");
    const auto power = static_cast<int>(number(file, name + ".focusing_factor"));
    check_maps<T>(c, file, name,
                  FocusedAttention<T>{heads, position.view().select(0, 0),
                                      scale.view().select(0, 0).select(0, 0), &conv, power});
  });
}

// --- InLine

/// The function of a case, chosen at run time.
struct InLineKernel {
  Index number;

  template <class V>
  V operator()(const V& x) const noexcept {
    if (number == 1) return math::relu(x);
    if (number == 2) return LeakyRelu{}(x);
    return number == 3 ? ScaledExp{}(x) : x;
  }
};

template <class T>
void run_inline_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const TokenInputs<T> in(file, name);
  const Index heads = number(file, name + ".heads"), kernel = number(file, name + ".kernel");
  const Index first = number(file, name + ".cls");  // class tokens before the image
  auto out = unwritten<T, 3>(in.q.shape());
  const auto run = [&](auto f) {
    const auto by_head = [&](auto view) { return heads_of_tokens(view, heads); };
    forward(InLine{f}, by_head(in.q.view()), by_head(in.k.view()), by_head(in.v.view()),
            by_head(out.view()));
  };
  run(InLineKernel{kernel});
  const auto x = file.read<T, 3>(name + ".x");
  const auto w1 = file.read<T, 3>(name + ".res0.weight"),
             w2 = file.read<T, 3>(name + ".res2.weight");
  const auto b1 = file.read<T, 1>(name + ".res0.bias"), b2 = file.read<T, 1>(name + ".res2.bias");
  const InLineResidual<T> residual{heads, w1.view().select(2, 0), b1, w2.view().select(2, 0), b2};
  const auto image = [&](auto view) {
    return square(view.slice(1, first, view.extent(1) - first));
  };
  residual.add(x, image(in.v.view()), image(out.view()));
  c.compare("out", out, file.read<double, 3>(name + ".out"));
}

void run_inline(const SafetensorsFile& file, Report& report) {
  run_each(file, report, [&](auto type, Case& c, const std::string& name) {
    run_inline_case<decltype(type)>(c, file, name);
  });
}

// --- ESSA

void run_spectral(const SafetensorsFile& file, Report& report) {
  run_each(file, report, [&](auto type, Case& c, const std::string& name) {
    using T = decltype(type);
    const TokenInputs<T> in(file, name);
    auto out = unwritten<T, 3>(in.v.shape());
    forward(SpectralAttention{}, in.q, in.k, in.v, out);
    c.compare("out", out, file.read<double, 3>(name + ".out"));
  });
}

constexpr Mechanism kMechanisms[] = {
    {"linear/slab_sla", run_simplified},
    {"linear/flatten_focused", run_focused},
    {"linear/inline_attention", run_inline},
    {"linear/essa", run_spectral},
};

}  // namespace

std::span<const Mechanism> linear_image_mechanisms() { return kMechanisms; }

}  // namespace golden
