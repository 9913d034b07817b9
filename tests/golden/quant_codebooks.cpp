#include "golden/integers.hpp"
#include "golden/metadata.hpp"
#include "golden/registry.hpp"
#include <weft/quant/codebook.hpp>
#include <weft/quant/multiscale_rvq.hpp>
#include <weft/quant/product_quantizer.hpp>

// quant/codebooks, quant/multiscale_rvq

namespace golden {
namespace {

using namespace weft;
using namespace weft::quant;

constexpr Tolerance kClose{1e-12, 1e-5};
using Ids = std::int32_t;

/// x [B, T, D] as [B T, D].
template <class T>
View<T, 2> rows_of(View<T, 3> x) {
  return x.template reshape<2>({x.extent(0) * x.extent(1), x.extent(2)});
}

template <class T>
void run_snap_case(Case& c, const SafetensorsFile& file, const std::string& name,
                   Similarity similarity, const std::string& kind) {
  const auto params = file.read<Ids, 1>(name + ".params");
  const auto x = file.read<T, 3>(name + ".x");
  const CodebookLayer<T> layer(file.read<T, 3>(name + ".codebooks"),
                               file.read<T, 2>(name + ".ln_gamma"),
                               file.read<T, 2>(name + ".ln_beta"), params(0), similarity);
  c.require("groups", layer.groups() == params(1));
  auto out = unwritten<T, 3>(x.shape());
  Tensor<Ids, 4> ids({x.extent(0), x.extent(1), params(1), params(0)});
  layer.apply(rows_of(x.view()), rows_of(out.view()),
              ids.view().template reshape<3>({x.extent(0) * x.extent(1), params(1), params(0)}));
  compare_integers(c, kind + ".ids", ids, file.read<Ids, 4>(name + kind + ".ids"));
  c.compare(kind + ".out", out, file.read<double, 3>(name + kind + ".out"), kClose);
}

template <class T>
void run_rvq_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto x = file.read<T, 2>(name + ".x");
  const ResidualQuantizer<T> quantizer(file.read<T, 3>(name + ".codebooks"));
  Tensor<Ids, 2> ids({x.extent(0), quantizer.stages()});
  auto residual = unwritten<T, 2>(x.shape()), recon = unwritten<T, 2>(x.shape());
  quantizer.encode(x, ids.view(), residual.view());
  quantizer.decode(ids, recon.view());
  compare_integers(c, "ids", ids, file.read<Ids, 2>(name + ".ids"));
  c.compare("residual", residual, file.read<double, 2>(name + ".residual"), kClose);
  c.compare("recon", recon, file.read<double, 2>(name + ".recon"), kClose);
}

template <class T>
void run_pq_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto x = file.read<T, 2>(name + ".x"), q = file.read<T, 2>(name + ".q");
  const auto init = file.read<T, 3>(name + ".init");
  const auto books = product_codebooks<DefaultArch, T>(x, init, scalar<Ids>(file, name + ".iters"));
  c.compare("codebooks", books, file.read<double, 3>(name + ".codebooks"), kClose);
  const ProductQuantizer<T> quantizer(books);
  Tensor<Ids, 2> ids({x.extent(0), quantizer.parts()});
  auto recon = unwritten<T, 2>(x.shape());
  quantizer.template encode<Ids>(x, ids.view());
  quantizer.template decode<Ids>(ids, recon.view());
  compare_integers(c, "ids", ids, file.read<Ids, 2>(name + ".ids"));
  c.compare("recon", recon, file.read<double, 2>(name + ".recon"), kClose);

  const auto check = [&](TableOf what, const std::string& kind) {
    auto tables = unwritten<T, 3>({q.extent(0), quantizer.parts(), quantizer.size()});
    auto scores = unwritten<T, 2>({q.extent(0), x.extent(0)});
    quantizer.tables(q, what, tables.view());
    for (Index n = 0; n < q.extent(0); ++n)
      look_up_scores<T, Ids>(tables.view().select(0, n), ids, scores.view().select(0, n));
    c.compare("adc_" + kind, scores, file.read<double, 2>(name + ".adc_" + kind), kClose);
    if (file.contains(name + ".lut_" + kind))
      c.compare("lut_" + kind, tables, file.read<double, 3>(name + ".lut_" + kind), kClose);
  };
  check(TableOf::products, "ip");
  check(TableOf::squared_distances, "l2");
}

template <class T>
void run_k_means_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto x = file.read<T, 2>(name + ".x"), init = file.read<T, 2>(name + ".init");
  const auto got = k_means<DefaultArch, T>(x, init, scalar<Ids>(file, name + ".iters"));
  compare_integers(c, "assign", got.assignment, file.read<Ids, 1>(name + ".assign"));
  c.compare("centroids", got.centroids, file.read<double, 2>(name + ".centroids"), kClose);
  Tensor<T, 1> inertia({1});
  inertia(0) = static_cast<T>(got.inertia);
  c.compare("inertia", inertia, file.read<double, 1>(name + ".inertia"), kClose);
}

void run_codebooks(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    using T = decltype(type);
    if (file.contains(name + ".params")) {
      run_snap_case<T>(c, file, name, Similarity::inner, ".cos");
      run_snap_case<T>(c, file, name, Similarity::euclidean, ".euc");
    } else if (file.contains(name + ".q")) {
      run_pq_case<T>(c, file, name);
    } else if (file.contains(name + ".init")) {
      run_k_means_case<T>(c, file, name);
    } else {
      run_rvq_case<T>(c, file, name);
    }
  });
}

template <class T>
void run_multiscale_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto x = file.read<T, 2>(name + ".x");
  const auto scales = file.read<Ids, 1>(name + ".scales");
  const auto book = file.read<T, 2>(name + ".codebook");
  const auto norms = file.read<double, 1>(name + ".residual_norms");
  const std::vector<Index> all(scales.data(), scales.data() + scales.size());
  auto residual = unwritten<T, 2>(x.shape()), recon = unwritten<T, 2>(x.shape());
  Tensor<T, 1> lengths(norms.shape());
  for (std::size_t count = 1; count <= all.size(); ++count) {
    const MultiscaleQuantizer<T> quantizer(book,
                                           {all.begin(), all.begin() + static_cast<Index>(count)});
    Tensor<Ids, 1> ids({quantizer.tokens()});
    quantizer.encode(x, ids.view(), residual.view());
    quantizer.decode(ids, recon.view());
    double square = 0;
    for (const T v : residual.span()) square += static_cast<double>(v) * static_cast<double>(v);
    lengths(static_cast<Index>(count) - 1) = static_cast<T>(std::sqrt(square));
    if (count == all.size())
      compare_integers(c, "ids", ids, file.read<Ids, 1>(name + ".ids_concat"));
  }
  c.compare("recon", recon, file.read<double, 2>(name + ".recon"), kClose);
  c.compare("residual", residual, file.read<double, 2>(name + ".residual"), kClose);
  c.compare("residual_norms", lengths, norms, kClose);
}

void run_multiscale(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_multiscale_case<decltype(type)>(c, file, name);
  });
}

constexpr Mechanism kMechanisms[] = {
    {"quant/codebooks", run_codebooks},
    {"quant/multiscale_rvq", run_multiscale},
};

}  // namespace

std::span<const Mechanism> quant_codebook_mechanisms() { return kMechanisms; }

}  // namespace golden
