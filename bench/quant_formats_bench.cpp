/// quant/<format>/decode, quant/<format>/encode: rows of small codes to floats and back, in L2.
/// Counter `of_plain`: the time over that of a loop that looks codes up in a table or encodes one
/// by one.
#include "support/inputs.hpp"
#include "support/row.hpp"
#include <weft/quant/float_codes.hpp>
#include <weft/quant/ggml_blocks.hpp>
#include <weft/quant/nf4.hpp>

#include <vector>

namespace {

using namespace weft::quant;
using bench::Index;

constexpr Index kSize = 65536;  // 256 KiB of floats

std::vector<float> numbers() {
  const auto x = bench::uniform<float>({kSize});
  return {x.data(), x.data() + kSize};
}

bench::Row row(const std::string& name, double code_bytes) {
  return {.name = bench::row_name("quant/" + name + "/f32", {{"n", kSize}}),
          .bytes = (4 + code_bytes) * kSize,
          .floor = bench::Floor::read};
}

template <FloatFormat F>
void add_float_format(const std::string& name) {
  row(name + "/decode", 1).add([] {
    std::vector<std::uint8_t> codes(kSize);
    encode_codes<F>(numbers(), codes);
    const auto plain = [codes, y = std::vector<float>(kSize)]() mutable {
      for (std::size_t i = 0; i < y.size(); ++i) y[i] = kFloatValues<F>[codes[i]];
    };
    return bench::Versus{
        [codes, y = std::vector<float>(kSize)]() mutable { decode_codes<F>(codes, y); }, plain};
  });
  row(name + "/encode", 1).add([] {
    const auto plain = [x = numbers(), y = std::vector<std::uint8_t>(kSize)]() mutable {
      for (std::size_t i = 0; i < y.size(); ++i) y[i] = static_cast<std::uint8_t>(F.encode(x[i]));
    };
    return bench::Versus{
        [x = numbers(), y = std::vector<std::uint8_t>(kSize)]() mutable { encode_codes<F>(x, y); },
        plain};
  });
}

void add_nf4() {
  row("nf4/decode", 0.5 + 4. / 64).add([] {
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

/// Rows of ggml's blocks, without a plain way of their own.
template <GgmlBlock B>
void add_ggml(const std::string& name) {
  row(name + "/decode", double(sizeof(B)) / B::kValues).add([] {
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
  add_ggml<Q4_0>("q4_0");
  add_ggml<Q8_0>("q8_0");
  add_ggml<Q4_K>("q4_k");
  add_ggml<Mxfp4>("mxfp4");
});

}  // namespace
