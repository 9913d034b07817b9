#include "golden/codes.hpp"
#include "golden/metadata.hpp"
#include "golden/registry.hpp"
#include <weft/quant/sage_attention.hpp>

// quant/sage_attention

namespace golden {
namespace {

using namespace weft;
using namespace weft::quant;

template <class M>
class SageCase {
 public:
  SageCase(Case& c, const SafetensorsFile& file, std::string name, const SageAttention<M>& mixer)
      : c_(c),
        file_(file),
        name_(std::move(name)),
        mixer_(mixer),
        q_(file.read<float, 3>(name_ + ".q")),
        k_(file.read<float, 3>(name_ + ".k")),
        v_(file.read<float, 3>(name_ + ".v")) {}

  void run() {
    auto out = unwritten<float, 4>({1, heads(), q_.extent(1), v_.extent(2)});
    auto lse = unwritten<float, 3>({1, heads(), q_.extent(1)});
    forward_with_lse(mixer_, batch(q_), batch(k_), batch(v_), out, lse);
    const auto mean = file_.read<double, 2>(name_ + ".k_mean");
    Tensor<float, 2> lse2({heads(), q_.extent(1)});
    Tensor<float, 3> rows({heads(), q_.extent(1), v_.extent(2)});
    std::copy_n(out.data(), out.size(), rows.data());
    // In the file, logits are those of the smoothed keys, in units of log 2.
    const double scale = 1 / std::sqrt(static_cast<double>(q_.extent(2)));
    for (Index h = 0; h < heads(); ++h)
      for (Index i = 0; i < q_.extent(1); ++i) {
        double shift = 0;
        for (Index d = 0; d < q_.extent(2); ++d) shift += q_(h, i, d) * mean(h, d) * scale;
        lse2(h, i) = static_cast<float>((lse(0, h, i) - shift) / std::log(2.0));
      }
    c_.compare("out", rows, file_.read<double, 3>(name_ + ".out"));
    // Sums of the mean's part cancel.
    c_.compare("lse2", lse2, file_.read<double, 2>(name_ + ".lse2"), {0, 3e-5});
    compare_codes(out);
  }

 private:
  Index heads() const noexcept { return q_.extent(0); }
  static View<const float, 4> batch(const Tensor<float, 3>& x) { return unsqueeze(x.view()); }

  /// What a call makes of its inputs before it attends.
  void compare_codes(Tensor<float, 4>& out) {
    const auto source = weft::detail::checked_kv(batch(k_), batch(v_));
    const auto problem = weft::detail::problem_of<float, DefaultArch>(
        batch(q_), out.view(), weft::detail::erase_kv<float, DefaultArch>(source),
        1 / std::sqrt(static_cast<double>(q_.extent(2))));
    auto with_values = mixer_;
    with_values.int8_values = true;
    const quant::detail::SageCall<DefaultArch, M> call(with_values, problem);
    Arena arena;
    Tensor<float, 2> mean({heads(), k_.extent(2)}), v_scale({heads(), v_.extent(2)});
    std::vector<float> q_scale, k_scale;
    std::vector<int> q_codes, k_codes, v_codes;
    for (Index h = 0; h < heads(); ++h) {
      const Arena::Frame frame(arena);
      const auto head = call.allocate(arena);
      call.encode_keys(0, h, head, arena);
      call.encode_values(0, h, head, arena);
      std::copy_n(head.mean, mean.extent(1), mean.view().pointer(h));
      std::copy_n(head.value_scale, v_scale.extent(1), v_scale.view().pointer(h));
      const Index bk = mixer_.key_block, blocks = ceil_div(k_.extent(1), bk);
      k_scale.insert(k_scale.end(), head.key_scale, head.key_scale + blocks);
      const Index columns = round_up(bk, 16), words = ceil_div(k_.extent(2), 4);
      const Index value_ld = round_up(v_.extent(2), kWidth<float>);
      for (Index j = 0; j < k_.extent(1); ++j)
        for (Index d = 0; d < k_.extent(2); ++d)
          k_codes.push_back(byte(head.keys[(j / bk * words + d / 4) * columns + j % bk], d % 4) -
                            128);
      for (Index j = 0; j < k_.extent(1); ++j)
        for (Index e = 0; e < v_.extent(2); ++e)
          v_codes.push_back(static_cast<std::int8_t>(
              byte(head.values[(j / bk * ceil_div(bk, Index{4}) + j % bk / 4) * value_ld + e],
                   j % bk % 4)));
      for (Index i = 0; i < q_.extent(1); i += mixer_.query_block) {
        const auto block = call.prepare(0, h, i, arena);
        q_scale.push_back(block.scale);
        for (Index r = 0; r < block.count; ++r)
          for (Index d = 0; d < q_.extent(2); ++d)
            q_codes.push_back(block.codes[r * 4 * words + d]);
      }
    }
    c_.compare("k_mean", mean, file_.read<double, 2>(name_ + ".k_mean"));
    c_.compare("v_scale", v_scale, file_.read<double, 2>(name_ + ".v_scale"));
    compare_flat(c_, file_, name_ + ".q_scale", q_scale);
    compare_flat(c_, file_, name_ + ".k_scale", k_scale);
    require_codes(c_, file_, name_ + ".q_codes", q_codes);
    require_codes(c_, file_, name_ + ".k_codes", k_codes);
    require_codes(c_, file_, name_ + ".v_codes", v_codes);
  }

  static int byte(std::uint32_t word, Index i) noexcept {
    return static_cast<int>(word >> (8 * i) & 0xff);
  }

  Case& c_;
  const SafetensorsFile& file_;
  std::string name_;
  SageAttention<M> mixer_;
  Tensor<float, 3> q_, k_, v_;
};

void run_sage(const SafetensorsFile& file, Report& report) {
  for (const std::string& name : case_names(file))
    report.run(name, [&](Case& c) {
      const auto params = read_flat<std::int32_t>(file, name + ".params");
      require(params.size() == 4, name, ".params: 4 numbers were expected");
      // One mask for both: a window that is open on both sides hides nothing.
      const Window mask{-1, params[2] == 1 ? 0 : -1};
      SageCase(c, file, name, SageAttention{mask, params[0], params[1], params[3] == 1}).run();
    });
}

constexpr Mechanism kMechanisms[] = {{"quant/sage_attention", run_sage}};

}  // namespace

std::span<const Mechanism> quant_sage_mechanisms() { return kMechanisms; }

}  // namespace golden
