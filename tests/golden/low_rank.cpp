#include "golden/attention.hpp"
#include "golden/projection.hpp"
#include "golden/registry.hpp"
#include <weft/attention/kernelized/linformer.hpp>
#include <weft/attention/kernelized/luna.hpp>
#include <weft/attention/kernelized/mdta.hpp>
#include <weft/attention/kernelized/nystromformer.hpp>
#include <weft/attention/kernelized/soft.hpp>
#include <weft/layer/depthwise_conv.hpp>

// linear/linformer, linear/nystromformer, linear/soft, linear/luna_pack_unpack, linear/mdta

namespace golden {
namespace {

using namespace weft;

/// The mask [B, N] of a case, kept as numbers, as bytes.
Tensor<std::uint8_t, 2> token_mask(const SafetensorsFile& file, const std::string& name) {
  const auto numbers = file.read<double, 2>(name + ".mask");
  Tensor<std::uint8_t, 2> mask(numbers.shape());
  for (Index i = 0; i < mask.size(); ++i) mask.data()[i] = numbers.data()[i] != 0 ? 1 : 0;
  return mask;
}

std::int32_t option(const SafetensorsFile& file, const std::string& name) {
  return file.read<std::int32_t, 1>(name)(0);
}

/// [H, 1, a, b] as [H, a, b]; empty where the file has no such tensor.
template <class T>
Tensor<T, 3> head_kernels(const SafetensorsFile& file, const std::string& name) {
  if (!file.contains(name)) return {};
  const auto w = file.read<T, 4>(name);
  Tensor<T, 3> kernels({w.extent(0), w.extent(2), w.extent(3)});
  std::copy_n(w.data(), w.size(), kernels.data());
  return kernels;
}

template <class T>
void run_linformer_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const Inputs<T> in(file, name);
  const auto e = file.read<T, 3>(name + ".E");
  const auto mask = token_mask(file, name);
  auto out = unwritten<T, 4>(in.q.shape());
  forward(Linformer<T>{e.view(), e.view(), mask.view()}, in.q, in.k, in.v, out);
  c.compare("out", out, file.read<double, 4>(name + ".out"));
}

void run_linformer(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_linformer_case<decltype(type)>(c, file, name);
  });
}

template <class T>
void run_nystrom_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const Inputs<T> in(file, name);
  const auto conv = head_kernels<T>(file, name + ".conv_weight");
  const auto mask = token_mask(file, name);
  Nystromformer<T> mixer{option(file, name + ".landmarks"), mask.view(), conv.view()};
  mixer.start =
      option(file, name + ".init_lra") != 0 ? NystromStart::batch_columns : NystromStart::batch;
  auto out = unwritten<T, 4>(in.q.shape());
  forward(mixer, in.q, in.k, in.v, out);
  c.compare("out", out, file.read<double, 4>(name + ".out"));
}

void run_nystrom(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_nystrom_case<decltype(type)>(c, file, name);
  });
}

template <class T>
void run_soft_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto q = file.read<T, 4>(name + ".q"), v = file.read<T, 4>(name + ".v");
  const auto landmark = file.read<T, 4>(name + ".landmark_weight");
  const auto weight = file.read<T, 1>(name + ".ln_weight"),
             bias = file.read<T, 1>(name + ".ln_bias");
  const auto conv = head_kernels<T>(file, name + ".conv_weight");
  const auto sides = file.read<std::int32_t, 1>(name + ".hw");
  Soft<T> mixer{sides(0), sides(1), landmark.view(), LayerNorm<T>{weight.view(), bias.view()},
                conv.view()};
  const bool symmetric = option(file, name + ".normalized") != 0;
  mixer.inverse = symmetric ? SoftInverse::symmetric_batch : SoftInverse::ridge;
  mixer.steps = option(file, name + ".iters");
  auto out = unwritten<T, 4>(v.shape());
  forward(mixer, q, v, out);
  c.compare("out", out, file.read<double, 4>(name + ".out"));
}

void run_soft(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_soft_case<decltype(type)>(c, file, name);
  });
}

template <class T>
void run_luna_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto p = file.read<T, 4>(name + ".P"), x = file.read<T, 4>(name + ".X");
  const auto context = file.read<T, 4>(name + ".C");
  auto packed = unwritten<T, 4>(p.shape()), out = unwritten<T, 4>(x.shape());
  forward(Luna{}, p, x, context, context, packed, out);
  c.compare("packed", packed, file.read<double, 4>(name + ".packed"));
  c.compare("out", out, file.read<double, 4>(name + ".out"));
}

void run_luna(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_luna_case<decltype(type)>(c, file, name);
  });
}

// --- MDTA

/// [B, C, h, w] as [B, h w, C].
template <class T>
Tensor<T, 3> channels_last(const Tensor<T, 4>& x) {
  Tensor<T, 3> y({x.extent(0), x.extent(2) * x.extent(3), x.extent(1)});
  for (Index b = 0; b < y.extent(0); ++b)
    for (Index n = 0; n < y.extent(1); ++n)
      for (Index d = 0; d < y.extent(2); ++d)
        y(b, n, d) = x(b, d, n / x.extent(3), n % x.extent(3));
  return y;
}

/// A 1 x 1 convolution as the linear map that it is.
template <class T>
Tensor<T, 3> pointwise(const SafetensorsFile& file, const Tensor<T, 3>& x,
                       const std::string& name) {
  const auto w = file.read<T, 4>(name + ".weight");
  auto y = unwritten<T, 3>({x.extent(0), x.extent(1), w.extent(0)});
  const View<const T, 2> rows(w.data(), {w.extent(0), w.extent(1)});
  for (Index b = 0; b < x.extent(0); ++b)
    gemm(x.view().select(0, b), rows.transpose(0, 1), y.view().select(0, b));
  if (!file.contains(name + ".bias")) return y;
  const auto bias = file.read<T, 1>(name + ".bias");
  for (Index i = 0; i < y.size(); ++i) y.data()[i] += bias(i % bias.size());
  return y;
}

template <class T>
Tensor<T, 3> depthwise(const SafetensorsFile& file, const Tensor<T, 3>& x, Index rows,
                       const std::string& name) {
  const auto w = head_kernels<T>(file, name + ".weight");
  Tensor<T, 1> bias({w.extent(0)});
  if (file.contains(name + ".bias")) bias = file.read<T, 1>(name + ".bias");
  auto y = unwritten<T, 3>(x.shape());
  const std::array<Index, 4> map{x.extent(0), rows, x.extent(1) / rows, x.extent(2)};
  DepthwiseConv<T>(w.view(), bias.view())
      .apply(x.view().template reshape<4>(map), y.view().template reshape<4>(map));
  return y;
}

/// [B, n, C'] -> [B, H, c, n] of the channels [first, first + H c).
template <class T>
Tensor<T, 4> channel_major(const Tensor<T, 3>& x, Index first, Index heads, Index c) {
  Tensor<T, 4> y({x.extent(0), heads, c, x.extent(1)});
  for (Index b = 0; b < x.extent(0); ++b)
    for (Index d = 0; d < heads * c; ++d)
      for (Index n = 0; n < x.extent(1); ++n) y(b, d / c, d % c, n) = x(b, n, first + d);
  return y;
}

template <class T>
void run_mdta_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto read = [&](const char* part) { return file.read<T, 4>(name + "." + part); };
  const auto q = read("core_q"), k = read("core_k"), v = read("core_v");
  const auto temperature = file.read<T, 3>(name + ".temperature");
  const Mdta<T> mixer{View<const T, 1>(temperature.data(), {q.extent(1)})};
  auto out = unwritten<T, 4>(q.shape());
  forward(mixer, q, k, v, out);
  c.compare("core_out", out, file.read<double, 4>(name + ".core_out"));

  // The module around it.
  const auto image = read("x");
  const auto expected = channels_last(file.read<double, 4>(name + ".out"));
  const Index rows = image.extent(2), channels = image.extent(1);
  const Index heads = option(file, name + ".heads"), width = channels / heads;
  const auto qkv = depthwise(file, pointwise(file, channels_last(image), name + ".qkv"), rows,
                             name + ".qkv_dwconv");
  const auto part = [&](Index i) { return channel_major(qkv, i * channels, heads, width); };
  auto mixed = unwritten<T, 4>({image.extent(0), heads, width, qkv.extent(1)});
  forward(mixer, part(0), part(1), part(2), mixed);
  const std::array<Index, 4> shape{image.extent(0), channels, rows, image.extent(3)};
  Tensor<T, 4> merged(shape);
  std::copy_n(mixed.data(), mixed.size(), merged.data());
  c.compare("out", pointwise(file, channels_last(merged), name + ".project_out"), expected);
}

void run_mdta(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_mdta_case<decltype(type)>(c, file, name);
  });
}

constexpr Mechanism kMechanisms[] = {
    {"linear/linformer", run_linformer}, {"linear/nystromformer", run_nystrom},
    {"linear/soft", run_soft},           {"linear/luna_pack_unpack", run_luna},
    {"linear/mdta", run_mdta},
};

}  // namespace

std::span<const Mechanism> low_rank_mechanisms() { return kMechanisms; }

}  // namespace golden
