#include "golden/attention.hpp"
#include "golden/projection.hpp"
#include "golden/registry.hpp"
#include <weft/attention/softmax/gated_parallel.hpp>
#include <weft/attention/softmax/pooled_memory.hpp>
#include <weft/attention/softmax/positional.hpp>
#include <weft/attention/softmax/prefix.hpp>
#include <weft/attention/softmax/styleswin.hpp>
#include <weft/attention/softmax/subset.hpp>
#include <weft/attention/softmax/tensor_attention.hpp>
#include <weft/attention/softmax/tensor_polynomial.hpp>
#include <weft/attention/softmax/transformer_xl.hpp>
#include <weft/layer/cif.hpp>
#include <weft/layer/conv_reweight.hpp>
#include <weft/position/rope2d.hpp>

// softmax/positional_attention, softmax/transformer_xl, softmax/vqt_prefix,
// softmax/styleswin_double_attention, softmax/theme_gated_parallel,
// softmax/efficienttam_cross_attention, softmax/contracon_reweight, softmax/ssa_subset,
// softmax/cif_predictor, softmax/tensor_attention

namespace golden {
namespace {

using namespace weft;

// --- Positional attention

/// Queries (part 0) or keys (part 1) of every head: its rows of p W^T + b.
template <class T>
View<const T, 3> part_of(const Tensor<T, 2>& projected, Index part, Index heads, Index channels) {
  return {projected.data() + part * channels,
          {heads, projected.extent(0), channels},
          {2 * channels, projected.extent(1), 1}};
}

template <class T>
void run_positional_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto x = file.read<T, 3>(name + ".x");
  const auto p = file.read<T, 2>(name + ".p");
  const auto qk = project(file, p, name + ".qk_proj.weight", name + ".qk_proj.bias");
  const Index P = p.extent(1), H = qk.extent(1) / (2 * P), N = p.extent(0);
  const auto v = project(file, x, name + ".v_proj.weight", name + ".v_proj.bias");
  auto mixed = unwritten<T, 3>(v.shape());
  forward_positional(Softmax{}, part_of(qk, 0, H, P), part_of(qk, 1, H, P), as_heads(v.view(), H),
                     as_heads(mixed.view(), H));
  c.compare("out", project(file, mixed, name + ".o_proj.weight", name + ".o_proj.bias"),
            file.read<double, 3>(name + ".out"));
  Tensor<T, 4> one_hot({1, 1, N, N});
  for (Index i = 0; i < N; ++i) one_hot(0, 0, i, i) = 1;
  auto weights = unwritten<T, 4>({1, H, N, N});
  forward_positional(Softmax{}, part_of(qk, 0, H, P), part_of(qk, 1, H, P),
                     std::as_const(one_hot).view().broadcast({1, H, N, N}), weights);
  Tensor<T, 3> attn({H, N, N});
  std::copy_n(weights.data(), attn.size(), attn.data());
  c.compare("attn", attn, file.read<double, 3>(name + ".attn"));
}

void run_positional(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_positional_case<decltype(type)>(c, file, name);
  });
}

// --- Transformer-XL

/// The position scores of the mixer, [B, H, N, M], 0 where hidden: keys of zero leave nothing else
/// in the logits, and values that name their keys show the weights. The logarithms of those are the
/// logits up to a number per row, which the expected scores of key 0 supply.
template <class T>
Tensor<T, 4> position_scores(const TransformerXl<T>& mixer, const Tensor<T, 4>& q,
                             const Tensor<double, 4>& expected) {
  const Index B = q.extent(0), H = q.extent(1), N = q.extent(2), M = expected.extent(3);
  const Tensor<T, 4> zeros({B, H, M, q.extent(3)});
  Tensor<T, 4> names({B, H, M, M}), scores(expected.shape());
  for (Index i = 0; i < B * H * M; ++i) names.data()[i * M + i % M] = 1;
  forward(mixer, q, zeros, names, scores);
  const double scale = scale_or_default(mixer.scale, q.extent(3));
  for (Index row = 0; row < B * H * N; ++row) {
    T* at = scores.data() + row * M;
    const double first = static_cast<double>(at[0]);
    for (Index j = 0; j < M; ++j) {
      const double ratio = static_cast<double>(at[j]) / first;
      at[j] =
          ratio == 0 ? T(0) : static_cast<T>(expected.data()[row * M] + std::log(ratio) / scale);
    }
  }
  return scores;
}

template <class T>
void run_xl_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const Inputs<T> in(file, name);
  const auto w_r = file.read<T, 3>(name + ".w_r");
  const auto u = file.read<T, 2>(name + ".u"), v_bias = file.read<T, 2>(name + ".v_bias");
  const Index H = w_r.extent(0), M = in.k.extent(2), D = in.q.extent(3);
  const auto sinusoids = transformer_xl_sinusoids<T>(M, w_r.extent(2));
  auto r = unwritten<T, 3>({H, M, D});
  for (Index h = 0; h < H; ++h)
    gemm(sinusoids, w_r.view().select(0, h).transpose(0, 1), r.view().select(0, h));
  c.compare("r", r, file.read<double, 3>(name + ".r"));
  auto out = unwritten<T, 4>({in.q.extent(0), H, in.q.extent(2), in.v.extent(3)});
  const TransformerXl<T> mixer{r.view(), u.view(), v_bias.view()};
  forward(mixer, in.q, in.k, in.v, out);
  c.compare("out", out, file.read<double, 4>(name + ".out"));
  const auto scores = file.read<double, 4>(name + ".BD_masked");
  c.compare("BD_masked", position_scores(mixer, in.q, scores), scores);
}

void run_xl(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_xl_case<decltype(type)>(c, file, name);
  });
}

// --- Prefixes and prompts

/// [P, C] repeated for every batch element and followed by z [B, N, C].
template <class T>
Tensor<T, 3> with_prompts(const Tensor<T, 2>& prompts, const Tensor<T, 3>& z) {
  const Index P = prompts.extent(0), N = z.extent(1);
  Tensor<T, 3> both({z.extent(0), P + N, z.extent(2)});
  for (Index b = 0; b < z.extent(0); ++b)
    for (Index c = 0; c < z.extent(2); ++c) {
      for (Index p = 0; p < P; ++p) both(b, p, c) = prompts(p, c);
      for (Index n = 0; n < N; ++n) both(b, P + n, c) = z(b, n, c);
    }
  return both;
}

template <class T>
void run_prefix_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  constexpr Index heads = 2;
  const auto z = file.read<T, 3>(name + ".z");
  const auto prompted = with_prompts(file.read<T, 2>(name + ".query_prompt"), z);
  const auto map = [&](const Tensor<T, 3>& x, const char* which) {
    return project(file, x, name + ".w" + which, name + ".b" + which);
  };
  const auto q = map(z, "q"), k = map(z, "k"), v = map(z, "v");
  const auto check = [&](const char* what, const Tensor<T, 3>& queries, auto attend) {
    auto out = unwritten<T, 3>(queries.shape());
    attend(as_heads(queries.view(), heads), as_heads(out.view(), heads));
    c.compare(what + 1, out, file.read<double, 3>(name + what));
  };
  const auto keys = as_heads(k.view(), heads), values = as_heads(v.view(), heads);
  check(".out_vqt", map(prompted, "q"),
        [&](auto queries, auto out) { forward(Softmax{}, queries, keys, values, out); });
  const auto prefix_k = file.read<T, 2>(name + ".prefix_k");
  const auto prefix_v = file.read<T, 2>(name + ".prefix_v");
  check(".out_prefix", q, [&](auto queries, auto out) {
    forward_prefix(Softmax{}, queries, as_heads(unsqueeze(prefix_k.view()), heads),
                   as_heads(unsqueeze(prefix_v.view()), heads), keys, values, out);
  });
  const auto all_k = map(prompted, "k"), all_v = map(prompted, "v");
  check(".out_vpt", map(prompted, "q"), [&](auto queries, auto out) {
    forward(Softmax{}, queries, as_heads(all_k.view(), heads), as_heads(all_v.view(), heads), out);
  });
}

void run_prefix(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_prefix_case<decltype(type)>(c, file, name);
  });
}

// --- StyleSwin

template <class T>
void run_styleswin_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const Inputs<T> in(file, name);
  const auto plain = file.read<T, 2>(name + ".rel_table0");
  const auto rolled = file.read<T, 2>(name + ".rel_table1");
  const auto window = file.read<std::int32_t, 1>(name + ".win_shift");
  const auto heads = file.read<std::int32_t, 1>(name + ".num_heads");
  const Index side = in.q.extent(1);
  c.require("shift", window(1) == (side <= window(0) ? 0 : window(0) / 2));
  auto out = unwritten<T, 4>(in.q.shape());
  forward(StyleSwin<T>{window(0), heads(0), plain.view(), rolled.view()}, in.q, in.k, in.v, out);
  c.compare("out", out, file.read<double, 4>(name + ".out"));
}

void run_styleswin(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_styleswin_case<decltype(type)>(c, file, name);
  });
}

// --- Theme Transformer

template <class T>
void run_theme_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto x = file.read<T, 3>(name + ".x");
  const auto gate = file.read<std::int32_t, 2>(name + ".gate");
  const bool exclusive = file.read<std::int32_t, 1>(name + ".mutual_exclusive")(0) != 0;
  const auto weight = file.read<T, 1>(name + ".ln_w"), bias = file.read<T, 1>(name + ".ln_b");
  auto out = unwritten<T, 3>(x.shape());
  mix_gated_parallel(LayerNorm<T>{weight.view(), bias.view(), T(1e-5)}, exclusive, gate.view(), x,
                     file.read<T, 3>(name + ".self_out"), file.read<T, 3>(name + ".cross_out"),
                     out);
  c.compare("out", out, file.read<double, 3>(name + ".out"));
}

void run_theme(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_theme_case<decltype(type)>(c, file, name);
  });
}

// --- EfficientTAM

template <class T>
void run_memory_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  constexpr Index heads = 2;
  const auto sizes = file.read<std::int32_t, 1>(name + ".grid_frames_ptr");
  const double theta = file.read<double, 1>(name + ".theta")(0);
  const Index side = sizes(0), frames = sizes(1), grid = side * side;
  const auto map = [&](const char* which) {
    const auto x = file.read<T, 3>(name + which);
    return project(file, x, name + which + "_proj.weight", name + which + "_proj.bias");
  };
  auto q = map(".q"), k = map(".k"), v = map(".v");
  const auto queries = as_heads(q.view(), heads), keys = as_heads(k.view(), heads);
  const auto rope = sam2_rope<T>(queries.extent(3), side, theta);
  const auto turn = [&](const View<T, 4>& x, Index repeats) {
    const auto at = grid_positions(side, side, repeats);
    const auto framed = x.slice(2, 0, repeats * grid);
    apply_rope2d(rope, framed, framed, std::as_const(at.y).view(), std::as_const(at.x).view());
  };
  turn(queries, 1);
  turn(keys, frames);
  using Rule = PooledMemory::Rule;
  const PooledMemory mixer{side, frames, name == "v2" ? Rule::per_component : Rule::per_logit};
  auto mixed = unwritten<T, 3>(q.shape());
  forward(mixer, queries, keys, as_heads(v.view(), heads), as_heads(mixed.view(), heads));
  c.compare("out", project(file, mixed, name + ".out_proj.weight", name + ".out_proj.bias"),
            file.read<double, 3>(name + ".out"));
}

void run_memory(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_memory_case<decltype(type)>(c, file, name);
  });
}

// --- ConTraCon

template <class T>
void run_reweight_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto weight = file.read<T, 2>(name + ".W");
  const auto kernel = file.read<T, 3>(name + ".kernel");
  const auto bias = file.read<T, 1>(name + ".conv_bias");
  const auto skip = file.read<T, 1>(name + ".skip_logit");
  const Index dilation = file.read<std::int32_t, 1>(name + ".dilation")(0);
  auto task = unwritten<T, 2>(weight.shape());
  ConvReweight<T>{kernel.view(), bias.view(), skip.view(), dilation}.apply(weight.view(),
                                                                           task.view());
  c.compare("W_task", task, file.read<double, 2>(name + ".W_task"));
  const auto x = file.read<T, 3>(name + ".x");
  auto y = unwritten<T, 3>({x.extent(0), x.extent(1), task.extent(0)});
  gemm(x.view().select(0, 0), task.view().transpose(0, 1), y.view().select(0, 0));
  c.compare("y", y, file.read<double, 3>(name + ".y"));
}

void run_reweight(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_reweight_case<decltype(type)>(c, file, name);
  });
}

// --- SSA

template <class T>
void run_subset_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const Inputs<T> in(file, name);
  const auto subset = file.read<std::int32_t, 1>(name + ".subset");
  auto out = unwritten<T, 4>(in.q.shape());
  auto lse = unwritten<T, 3>({in.q.extent(0), in.q.extent(1), in.q.extent(2)});
  if (is_causal(file, name)) {
    const CausalSubset mask{subset.view(), in.k.extent(2)};
    forward_subset_with_lse(Softmax{mask}, in.q, in.k, in.v, subset.view(), out, lse);
  } else {
    forward_subset_with_lse(Softmax{}, in.q, in.k, in.v, subset.view(), out, lse);
  }
  c.compare("out", out, file.read<double, 4>(name + ".out"));
  c.compare("lse", lse, file.read<double, 3>(name + ".lse"));
}

void run_subset(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_subset_case<decltype(type)>(c, file, name);
  });
}

// --- CIF

/// Numbers in double as numbers of T, so that they count as results of that precision.
template <class T, std::size_t Rank>
Tensor<T, Rank> rounded(const Tensor<double, Rank>& x) {
  Tensor<T, Rank> out(x.shape());
  std::transform(x.data(), x.data() + x.size(), out.data(), [](double v) { return T(v); });
  return out;
}

/// The integral after each frame and before the threshold is taken off, [B, frames]. The frames are
/// fed one by one, as a stream would bring them.
template <class T>
Tensor<double, 2> integrals(const Tensor<T, 3>& hidden, const Tensor<double, 2>& alpha) {
  Tensor<double, 2> fires(alpha.shape());
  Tensor<T, 2> token({1, hidden.extent(2)});
  for (Index b = 0; b < alpha.extent(0); ++b) {
    CifState<T> state(hidden.extent(2));
    for (Index t = 0; t < alpha.extent(1); ++t) {
      const bool exists = t < hidden.extent(1);  // the frame of the tail is not there: zeros
      const auto h = hidden.view().select(0, b).slice(0, exists ? t : 0, exists ? 1 : 0);
      const Index fired = cif_fire<T>(state, h, alpha.view().select(0, b).slice(0, t, 1), token);
      fires(b, t) = state.integral + static_cast<double>(fired);
    }
  }
  return fires;
}

/// Everything that firing leaves behind for one sequence.
template <class T>
void check_firing(Case& c, const SafetensorsFile& file, const std::string& name,
                  const Tensor<T, 3>& hidden, const Tensor<double, 2>& alpha, bool has_tail) {
  const auto expected = file.read<double, 3>(name + ".embeds");
  const Index B = hidden.extent(0), C = hidden.extent(2), frames = alpha.extent(1);
  Tensor<T, 3> embeds(expected.shape()), room({B, frames, C});
  Tensor<T, 2> remainder({B, C});
  Tensor<double, 1> residual({B}), tokens({B});
  const auto fired = file.read<std::int32_t, 1>(name + ".n_fired");
  for (Index b = 0; b < B; ++b) {
    CifState<T> state(C);
    const Index count =
        cif_fire<T>(state, hidden.view().select(0, b), std::as_const(alpha).view().select(0, b),
                    room.view().select(0, b));
    c.require("n_fired", count == fired(b));
    for (Index n = 0; n < std::min(count, embeds.extent(1)); ++n)
      for (Index d = 0; d < C; ++d) embeds(b, n, d) = room(b, n, d);
    for (Index d = 0; d < C; ++d) remainder(b, d) = state.frame(d);
    residual(b) = state.integral;
    for (Index t = 0; t < frames; ++t) tokens(b) += alpha(b, t);
    if (has_tail) tokens(b) = std::floor(tokens(b));
  }
  c.compare("embeds", embeds, expected);
  c.compare("residual_frame", remainder, file.read<double, 2>(name + ".residual_frame"));
  c.compare("token_num", rounded<T>(tokens), file.read<double, 1>(name + ".token_num"));
  c.compare("residual", rounded<T>(residual), file.read<double, 1>(name + ".residual"));
}

template <class T>
void run_cif_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto hidden = file.read<T, 3>(name + ".hidden");
  const auto conv_w = file.read<T, 3>(name + ".conv_w");
  const auto conv_b = file.read<T, 1>(name + ".conv_b");
  const auto out_w = file.read<T, 2>(name + ".out_w");
  const auto lens = file.read<std::int32_t, 1>(name + ".lens");
  const auto params = file.read<double, 1>(name + ".params");
  const CifPredictor<T> predictor{conv_w.view(),
                                  conv_b.view(),
                                  out_w.view().select(0, 0),
                                  file.read<T, 1>(name + ".out_b")(0),
                                  static_cast<Index>(params(0)),
                                  params(2),
                                  params(3)};
  auto alpha = unwritten<double, 2>({hidden.extent(0), hidden.extent(1)});
  cif_weights(predictor, hidden.view(), lens.view(), alpha.view());
  c.compare("alpha_raw", rounded<T>(alpha), file.read<double, 2>(name + ".alpha_raw"));
  const double tail = params(4);
  if (tail > 0) alpha = cif_with_tail(alpha.view(), lens.view(), tail);
  c.compare("alpha", rounded<T>(alpha), file.read<double, 2>(name + ".alpha"));
  c.compare("fires", rounded<T>(integrals(hidden, alpha)), file.read<double, 2>(name + ".fires"));
  check_firing(c, file, name, hidden, alpha, tail > 0);
}

void run_cif(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_cif_case<decltype(type)>(c, file, name);
  });
}

// --- Tensor attention

/// [n, D] as [1, 1, n, D].
template <class T>
View<T, 4> one_head(const View<T, 2>& x) {
  return unsqueeze(unsqueeze(x));
}

template <class T>
void run_tensor_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto q = file.read<T, 2>(name + ".q");
  const auto k1 = file.read<T, 2>(name + ".k1"), k2 = file.read<T, 2>(name + ".k2");
  const auto v1 = file.read<T, 2>(name + ".v1"), v2 = file.read<T, 2>(name + ".v2");
  const double scale = file.read<double, 1>(name + ".scale")(0);
  const Index degree = file.read<std::int32_t, 1>(name + ".degree")(0);
  const Index features = file.read<std::int32_t, 1>(name + ".n_features")(0);
  auto out = unwritten<T, 2>({q.extent(0), v1.extent(1)});
  auto lse = unwritten<T, 1>({q.extent(0)});
  forward_with_lse(TensorAttention{scale}, one_head(q.view()), one_head(k1.view()),
                   one_head(k2.view()), one_head(v1.view()), one_head(v2.view()),
                   one_head(out.view()), unsqueeze(unsqueeze(lse.view())));
  c.compare("out", out, file.read<double, 2>(name + ".out"));
  c.compare("lse", lse, file.read<double, 1>(name + ".lse"));
  c.require("n_features", tensor_polynomial_features(q.extent(1), degree) == features);
  forward(TensorPolynomial{degree, scale}, one_head(q.view()), one_head(k1.view()),
          one_head(k2.view()), one_head(v1.view()), one_head(v2.view()), one_head(out.view()));
  c.compare("out_poly", out, file.read<double, 2>(name + ".out_poly"));
}

void run_tensor(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_tensor_case<decltype(type)>(c, file, name);
  });
}

constexpr Mechanism kMechanisms[] = {
    {"softmax/vqt_prefix", run_prefix},
    {"softmax/styleswin_double_attention", run_styleswin},
    {"softmax/theme_gated_parallel", run_theme},
    {"softmax/efficienttam_cross_attention", run_memory},
    {"softmax/contracon_reweight", run_reweight},
    {"softmax/ssa_subset", run_subset},
    {"softmax/cif_predictor", run_cif},
    {"softmax/tensor_attention", run_tensor},
    {"softmax/positional_attention", run_positional},
    {"softmax/transformer_xl", run_xl},
};

}  // namespace

std::span<const Mechanism> arrangement_mechanisms() { return kMechanisms; }

}  // namespace golden
