#include "golden/attention.hpp"
#include "golden/registry.hpp"
#include <weft/attention/softmax.hpp>

// softmax/lse_merge, softmax/paged_kv

namespace golden {
namespace {

using namespace weft;

/// Keys and values between two cuts: their own result, and then all of them merged.
template <class T>
void run_merge_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const Inputs<T> in(file, name);
  const auto cuts = file.read<std::int64_t, 1>(name + ".cuts");
  const Index parts = cuts.size() - 1;
  const Index B = in.q.extent(0), H = in.q.extent(1), N = in.q.extent(2), E = in.v.extent(3);
  auto part_out = unwritten<T, 5>({parts, B, H, N, E});
  auto part_lse = unwritten<T, 4>({parts, B, H, N});
  for (Index p = 0; p < parts; ++p) {
    const auto part = [&](const Tensor<T, 4>& x) {
      return x.view().slice(2, cuts(p), cuts(p + 1) - cuts(p));
    };
    forward_with_lse(Softmax{}, in.q, part(in.k), part(in.v), part_out.view().select(0, p),
                     part_lse.view().select(0, p));
  }
  c.compare("part_out", part_out, file.read<double, 5>(name + ".part_out"));
  c.compare("part_lse", part_lse, file.read<double, 4>(name + ".part_lse"));
  auto out = unwritten<T, 4>({B, H, N, E});
  auto lse = unwritten<T, 3>({B, H, N});
  merge_partials(part_out, part_lse, out, lse.view());
  c.compare("out", out, file.read<double, 4>(name + ".out"));
  c.compare("lse", lse, file.read<double, 3>(name + ".lse"));
}

void run_merge(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_merge_case<decltype(type)>(c, file, name);
  });
}

/// The queries are the last N tokens of each sequence.
template <class T>
void run_paged_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto q = file.read<T, 4>(name + ".q");
  const auto keys = file.read<T, 4>(name + ".k_cache");
  const auto values = file.read<T, 4>(name + ".v_cache");
  const auto table = file.read<std::int32_t, 2>(name + ".block_table");
  auto lengths = file.read<std::int32_t, 1>(name + ".seqlens_k");
  const PagedKv<const T> pages(keys.view(), values.view(), table.view(), lengths.view());
  auto out = unwritten<T, 4>({q.extent(0), q.extent(1), q.extent(2), values.extent(3)});
  auto lse = unwritten<T, 3>({q.extent(0), q.extent(1), q.extent(2)});
  forward_with_lse(Softmax{Causal{Align::bottom_right}}, q, pages, out, lse);
  c.compare("out", out, file.read<double, 4>(name + ".out"));
  c.compare("lse", lse, file.read<double, 3>(name + ".lse"));
}

void run_paged(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_paged_case<decltype(type)>(c, file, name);
  });
}

constexpr Mechanism kMechanisms[] = {
    {"softmax/lse_merge", run_merge},
    {"softmax/paged_kv", run_paged},
};

}  // namespace

std::span<const Mechanism> partial_mechanisms() { return kMechanisms; }

}  // namespace golden
