#include "golden/codes.hpp"
#include "golden/metadata.hpp"
#include "golden/registry.hpp"
#include <weft/quant/kivi.hpp>
#include <weft/quant/saq.hpp>

#include <optional>

// quant/kivi, quant/saq_kv

namespace golden {
namespace {

using namespace weft;
using namespace weft::quant;

/// q, k and v [H, N, D] of a case, decoded token by token behind a prefill of `first` tokens.
template <class Cache>
class Decoding {
 public:
  Decoding(Case& c, const SafetensorsFile& file, std::string name)
      : c_(c),
        file_(file),
        name_(std::move(name)),
        q_(file.read<float, 3>(name_ + ".q")),
        k_(file.read<float, 3>(name_ + ".k")),
        v_(file.read<float, 3>(name_ + ".v")),
        params_(read_flat<std::int32_t>(file, name_ + ".params")) {}

  int param(std::size_t i) const { return params_.at(i); }
  std::size_t params() const noexcept { return params_.size(); }
  Index heads() const noexcept { return q_.extent(0); }
  Index tokens() const noexcept { return q_.extent(1); }
  Index dim() const noexcept { return q_.extent(2); }

  /// Decodes all and compares the outputs.
  template <class Options>
  void run(const Options& options, Index first) {
    const Softmax mixer{Causal{Align::bottom_right}};
    cache_.emplace(make_state(mixer, options, {1, heads(), tokens(), dim(), v_.extent(2)}));
    auto out = unwritten<float, 3>({heads(), tokens(), v_.extent(2)});
    const auto part = [](auto& x, Index from, Index n) {
      return unsqueeze(x.view()).slice(2, from, n);
    };
    if (first > 0)
      prefill(mixer, *cache_, part(q_, 0, first), part(k_, 0, first), part(v_, 0, first),
              part(out, 0, first));
    for (Index t = first; t < tokens(); ++t)
      step(mixer, *cache_, part(q_, t, 1).select(2, 0), part(k_, t, 1).select(2, 0),
           part(v_, t, 1).select(2, 0), part(out, t, 1).select(2, 0));
    c_.compare("out", out, file_.read<double, 3>(name_ + ".out"));
  }

  const Cache& cache() const { return *cache_; }

  /// Codes and grids of `count` tokens of a plane, the first of which is token `at` of tensor
  /// NAME.side_codes.
  template <class Plane>
  void compare_plane(const std::string& side, const Plane& plane, Index at, Index count) {
    const auto codes = file_.read<std::int32_t, 3>(name_ + "." + side + "_codes");
    bool same = true;
    for (Index h = 0; h < heads(); ++h)
      for (Index t = 0; t < count; ++t)
        for (Index d = 0; d < plane.dim(); ++d)
          same = same && plane.code(0, h, t, d) == codes(h, at + t, d);
    c_.require(side + "_codes", same);
  }

  /// Scales or least numbers [H, rows, cols] against grid(h, row, col).
  template <class Grid>
  void compare_grids(const std::string& side, const Grid& grid) {
    const auto scale = file_.read<double, 3>(name_ + "." + side + "_scale");
    Tensor<float, 3> got(scale.shape()), low(scale.shape());
    for (Index h = 0; h < scale.extent(0); ++h)
      for (Index r = 0; r < scale.extent(1); ++r)
        for (Index c = 0; c < scale.extent(2); ++c) {
          const KvGrid own = grid(h, r, c);
          got(h, r, c) = own.scale;
          low(h, r, c) = own.low;
        }
    c_.compare(side + "_scale", got, scale);
    c_.compare(side + "_min", low, file_.read<double, 3>(name_ + "." + side + "_min"));
  }

  Case& report() { return c_; }
  const SafetensorsFile& file() const { return file_; }
  const std::string& name() const { return name_; }

 private:
  Case& c_;
  const SafetensorsFile& file_;
  std::string name_;
  Tensor<float, 3> q_, k_, v_;
  std::vector<int> params_;
  std::optional<Cache> cache_;
};

/// The bit stream of the reference: codes of `bits` in words of 32, lowest bits first.
template <class CodeAt>
bool is_packed(const Tensor<std::int32_t, 3>& words, int bits, const CodeAt& code) {
  const Index per_word = 32 / bits;
  for (Index h = 0; h < words.extent(0); ++h)
    for (Index r = 0; r < words.extent(1); ++r)
      for (Index w = 0; w < words.extent(2); ++w) {
        std::uint32_t word = 0;
        for (Index i = 0; i < per_word; ++i)
          word |= static_cast<std::uint32_t>(code(h, r, w * per_word + i))
                  << (static_cast<int>(i) * bits);
        if (word != static_cast<std::uint32_t>(words(h, r, w))) return false;
      }
  return true;
}

void run_kivi(const SafetensorsFile& file, Report& report) {
  for (const std::string& name : case_names(file))
    report.run(name, [&](Case& c) {
      Decoding<KiviCache> d(c, file, name);
      const Index group = d.param(0), first = d.param(2);
      d.run(Kivi{d.param(4), d.param(5), group, d.param(1)}, first);
      const KeyPlane& keys = d.cache().keys();
      const ValuePlane& values = d.cache().values();
      c.require("tokens of the cache", d.cache().coded_keys() == d.param(6) &&
                                           d.cache().coded_values() == d.param(7) &&
                                           first + d.param(3) == d.tokens());
      d.compare_plane("k", keys, 0, d.param(6));
      d.compare_plane("v", values, 0, d.param(7));
      d.compare_grids("k",
                      [&](Index h, Index g, Index ch) { return keys.grid(0, h, g * group, ch); });
      d.compare_grids("v",
                      [&](Index h, Index t, Index g) { return values.grid(0, h, t, g * group); });
      c.require("k_packed_T",
                is_packed(file.read<std::int32_t, 3>(name + ".k_packed_T"), d.param(4),
                          [&](Index h, Index ch, Index t) { return keys.code(0, h, t, ch); }));
      c.require("v_packed", is_packed(file.read<std::int32_t, 3>(name + ".v_packed"), d.param(5),
                                      [&](Index h, Index t, Index ch) {
                                        return ch < d.dim() ? values.code(0, h, t, ch) : 0;
                                      }));
    });
}

void run_saq(const SafetensorsFile& file, Report& report) {
  for (const std::string& name : case_names(file))
    report.run(name, [&](Case& c) {
      Decoding<SaqCache> d(c, file, name);
      const Index group = d.param(0), chunk = d.param(1);
      Saq options{group, chunk, {}};
      for (std::size_t i = 3; i < d.params(); ++i) options.bits.push_back(d.param(i));
      d.run(options, 0);
      // Oldest first: the bottom of the stairs.
      const auto& stairs = d.cache().stairs();
      const auto chunk_bits = read_flat<std::int32_t>(file, name + ".chunk_bits_oldest_first");
      std::vector<int> bits;
      std::vector<const SaqCache::Stair*> stair_of;
      std::vector<Index> token_of;
      for (std::size_t i = stairs.size(); i-- > 0;) {
        d.compare_plane("k", stairs[i].keys, static_cast<Index>(token_of.size()), stairs[i].count);
        d.compare_plane("v", stairs[i].values, static_cast<Index>(token_of.size()),
                        stairs[i].count);
        for (Index t = 0; t < stairs[i].count; ++t) {
          if (t % chunk == 0) bits.push_back(options.bits[i]);
          stair_of.push_back(&stairs[i]);
          token_of.push_back(t);
        }
      }
      c.require("chunk_bits_oldest_first", bits == chunk_bits);
      d.compare_grids("k", [&](Index h, Index g, Index ch) {
        const auto t = static_cast<std::size_t>(g * group);
        return stair_of[t]->keys.grid(0, h, token_of[t], ch);
      });
      d.compare_grids("v", [&](Index h, Index token, Index g) {
        const auto t = static_cast<std::size_t>(token);
        return stair_of[t]->values.grid(0, h, token_of[t], g * group);
      });
    });
}

constexpr Mechanism kMechanisms[] = {{"quant/kivi", run_kivi}, {"quant/saq_kv", run_saq}};

}  // namespace

std::span<const Mechanism> quant_kv_mechanisms() { return kMechanisms; }

}  // namespace golden
