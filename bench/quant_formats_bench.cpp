/// quant/fp8, quant/nf4, quant/mx, quant/ternary and the blocks of ggml: rows of codes to floats
/// and back, in L2. Counter `of_plain`: the time over that of a loop that looks codes up in a table
/// or encodes one by one.
#include "support/inputs.hpp"
#include "support/row.hpp"
#include <weft/quant/float_codes.hpp>
#include <weft/quant/ggml_blocks.hpp>
#include <weft/quant/mx.hpp>
#include <weft/quant/nf4.hpp>

#include <utility>
#include <vector>

namespace {

using namespace weft::quant;
using bench::Index;
using weft::Tensor;
using weft::View;

constexpr Index kSize = 65536;  // 256 KiB of floats

std::vector<float> numbers() {
  const auto x = bench::uniform<float>({kSize});
  return {x.data(), x.data() + kSize};
}

bench::Row row(const std::string& name, double code_bytes) {
  return {.name = bench::row_name("quant/" + name, {{"n", kSize}}),
          .bytes = (4 + code_bytes) * kSize,
          .floor = bench::Floor::read};
}

template <FloatFormat F>
void add_float_format(const std::string& name) {
  row("fp8/decode/" + name, 1).add([] {
    std::vector<std::uint8_t> codes(kSize);
    encode_codes<F>(numbers(), codes);
    const auto plain = [codes, y = std::vector<float>(kSize)]() mutable {
      for (std::size_t i = 0; i < y.size(); ++i) y[i] = kFloatValues<F>[codes[i]];
    };
    return bench::Versus{
        [codes, y = std::vector<float>(kSize)]() mutable { decode_codes<F>(codes, y); }, plain};
  });
  row("fp8/encode/" + name, 1).add([] {
    const auto plain = [x = numbers(), y = std::vector<std::uint8_t>(kSize)]() mutable {
      for (std::size_t i = 0; i < y.size(); ++i) y[i] = static_cast<std::uint8_t>(F.encode(x[i]));
    };
    return bench::Versus{
        [x = numbers(), y = std::vector<std::uint8_t>(kSize)]() mutable { encode_codes<F>(x, y); },
        plain};
  });
}

void add_nf4() {
  row("nf4/decode/f32", 0.5 + 4. / 64).add([] {
    const auto blocks = quantize_book16(numbers(), Book16::nf4);
    const auto plain = [blocks, y = std::vector<float>(kSize)]() mutable {
      for (std::size_t i = 0; i < y.size(); ++i)
        y[i] = kNf4Values[nibble(blocks.bytes.data(), i, NibbleOrder::high_first)] *
               blocks.absmax[i / 64];
    };
    return bench::Versus{
        [blocks, y = std::vector<float>(kSize)]() mutable { dequantize(blocks, y); }, plain};
  });
}

template <FloatFormat F>
void add_mx(const std::string& name) {
  row("mx/decode/" + name, 1 + 1. / kMxBlock).add([] {
    constexpr Index kCols = 1024;
    const auto x = numbers();
    auto q = quantize_mx(View<const float, 2>(x.data(), {kSize / kCols, kCols}), F);
    return [q = std::move(q), y = Tensor<float, 2>({kSize / kCols, kCols})]() mutable {
      dequantize(q, y.view());
    };
  });
}

template <GgmlBlock B>
void add_ggml(const std::string& name) {
  row(name, double(sizeof(B)) / B::kValues).add([] {
    std::vector<B> blocks(static_cast<std::size_t>(kSize / B::kValues));
    if constexpr (requires(ConstBlockValues<B> x, B& block) { encode(x, block); })
      encode_blocks<B>(numbers(), blocks);
    return [blocks, y = std::vector<float>(kSize)]() mutable { decode_blocks<B>(blocks, y); };
  });
}

const bench::Rows rows([] {
  add_float_format<kE4M3>("e4m3");
  add_float_format<kE5M2>("e5m2");
  add_nf4();
  add_mx<kE2M1>("e2m1");
  add_mx<kE4M3>("e4m3");
  add_ggml<Q4_0>("ggml/decode/q4_0");
  add_ggml<Q8_0>("ggml/decode/q8_0");
  add_ggml<Q4_K>("ggml/decode/q4_k");
  add_ggml<Mxfp4>("ggml/decode/mxfp4");
  add_ggml<Tq2_0>("ternary/decode/tq2_0");
});

}  // namespace
