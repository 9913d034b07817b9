#include "generate/deltanet_mixer.hpp"
#include "generate/evaluation.hpp"
#include "generate/options.hpp"
#include "generate/sampler.hpp"
#include "generate/softmax_mixer.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/temporary_folder.hpp"
#include "support/values.hpp"
#include <weft/core/thread_pool.hpp>

#include <initializer_list>

using namespace generate;
using weft::SafetensorsFile;

namespace {

using Bytes = std::vector<std::uint8_t>;

/// The models, and what is known of them.
struct SoftmaxLm {
  using Model = LanguageModel<SoftmaxMixer>;
  static constexpr const char* file = WEFT_EXAMPLE_DATA "/softmax.safetensors";
  static constexpr const char* golden = WEFT_TEST_DATA "/model/lm_softmax.safetensors";
  static constexpr double bits_per_byte = 1.673128;
  static constexpr Index state_floats = 4 * 2 * 256 * (32 + 32);  // layers, heads, positions
};
struct DeltaNetLm {
  using Model = LanguageModel<DeltaNetMixer>;
  static constexpr const char* file = WEFT_EXAMPLE_DATA "/deltanet.safetensors";
  static constexpr const char* golden = WEFT_TEST_DATA "/model/lm_deltanet.safetensors";
  static constexpr double bits_per_byte = 1.716461;
  static constexpr Index state_floats = 4 * (4 * 32 * 32 + 3 * 3 * 128);  // memory, conv inputs
};

constexpr const char* kText = WEFT_TEST_DATA "/model/kjv_valid_8193.txt";

/// Logits are up to 20 and go through products of depth 128 to 352 in eight blocks, in fp32.
constexpr double kTolerance = 1e-5;

template <class Lm>
const typename Lm::Model& model() {
  static const typename Lm::Model loaded(SafetensorsFile(Lm::file), 256);
  return loaded;
}

Bytes bytes_of(const SafetensorsFile& file, const char* tensor) {
  Bytes out;
  const auto tokens = file.read<std::int32_t, 1>(tensor);
  for (std::int32_t token : tokens.span()) {
    out.push_back(static_cast<std::uint8_t>(token));
  }
  return out;
}

/// Logits of all bytes, read in pieces of the given sizes; pieces of one byte are steps.
template <class Lm>
Tensor<float, 2> logits_in_pieces(const Bytes& text, std::initializer_list<Index> pieces,
                                  const Context& ctx = Context{}) {
  Tensor<float, 2> logits({static_cast<Index>(text.size()), kVocabulary});
  auto state = model<Lm>().make_state();
  Index at = 0;
  for (Index piece : pieces) {
    const auto out = logits.view().slice(0, at, piece);
    const auto in =
        std::span(text).subspan(static_cast<std::size_t>(at), static_cast<std::size_t>(piece));
    if (piece == 1) {
      model<Lm>().step(state, in[0], out, ctx);
    } else {
      model<Lm>().prefill(state, in, out, ctx);
    }
    at += piece;
  }
  REQUIRE(at == static_cast<Index>(text.size()));
  return logits;
}

std::variant<Options, Complaint> parsed(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "generate");
  return parse_options(static_cast<int>(arguments.size()), arguments.data());
}

std::string complaint_about(std::vector<const char*> arguments) {
  const auto result = parsed(std::move(arguments));
  const auto* complaint = std::get_if<Complaint>(&result);
  return complaint == nullptr ? "" : *complaint;
}

/// A copy of the model file with one tensor or metadata entry changed.
template <class Change>
std::string trouble_with(Change change) {
  const TemporaryFolder folder;
  const SafetensorsFile original(SoftmaxLm::file);
  weft::SafetensorsWriter writer;
  change(original, writer);
  writer.save(folder / "model.safetensors");
  return message_of([&] { SoftmaxLm::Model(SafetensorsFile(folder / "model.safetensors"), 8); });
}

}  // namespace

TEMPLATE_TEST_CASE("generate: logits agree with the golden ones", "[examples][golden]", SoftmaxLm,
                   DeltaNetLm) {
  const SafetensorsFile golden(TestType::golden);
  const Bytes tokens = bytes_of(golden, "tokens");
  const auto expected = golden.read<double, 2>("logits");
  const auto logits = logits_in_pieces<TestType>(tokens, {static_cast<Index>(tokens.size())});
  REQUIRE(largest_error(doubles_of(logits.view()), doubles_of(expected.view())) < kTolerance);
}

TEMPLATE_TEST_CASE("generate: prefill in any split and steps give the same logits", "[examples]",
                   SoftmaxLm, DeltaNetLm) {
  const Bytes tokens = bytes_of(SafetensorsFile(TestType::golden), "tokens");
  const Bytes text(tokens.begin(), tokens.begin() + 40);
  const auto whole = doubles_of(logits_in_pieces<TestType>(text, {40}).view());
  const auto require_same = [&](std::initializer_list<Index> pieces) {
    const auto logits = logits_in_pieces<TestType>(text, pieces);
    REQUIRE(largest_error(doubles_of(logits.view()), whole) < kTolerance);
  };
  require_same({20, 20});
  require_same({2, 5, 33});
  require_same({37, 1, 1, 1});
  require_same({1, 17, 1, 21});
  require_same({1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1});
}

TEMPLATE_TEST_CASE("generate: the last row alone is the last row of all", "[examples]", SoftmaxLm,
                   DeltaNetLm) {
  const Bytes tokens = bytes_of(SafetensorsFile(TestType::golden), "tokens");
  const auto all = logits_in_pieces<TestType>(tokens, {static_cast<Index>(tokens.size())});
  Tensor<float, 2> last({1, kVocabulary});
  auto state = model<TestType>().make_state();
  model<TestType>().prefill(state, tokens, last, Context{});
  REQUIRE(largest_error(doubles_of(last.view().select(0, 0)),
                        doubles_of(all.view().select(0, all.extent(0) - 1))) < kTolerance);
}

TEMPLATE_TEST_CASE("generate: the greedy continuation is the golden one", "[examples][golden]",
                   SoftmaxLm, DeltaNetLm) {
  const SafetensorsFile golden(TestType::golden);
  const Bytes prompt = bytes_of(golden, "prompt"), expected = bytes_of(golden, "greedy");
  Sampler sampler(0, 0, 1);
  Tensor<float, 2> logits({1, kVocabulary});
  auto state = model<TestType>().make_state();
  const Context ctx;
  model<TestType>().prefill(state, prompt, logits, ctx);
  Bytes text;
  while (text.size() < expected.size()) {
    text.push_back(sampler(logits.view().select(0, 0)));
    model<TestType>().step(state, text.back(), logits, ctx);
  }
  REQUIRE(std::string(text.begin(), text.end()) == std::string(expected.begin(), expected.end()));
}

TEMPLATE_TEST_CASE("generate: bits per byte", "[examples][golden]", SoftmaxLm, DeltaNetLm) {
  const std::string contents = contents_of(kText);
  const Bytes text(contents.begin(), contents.end());
  REQUIRE(text.size() == 8193);
  const BitsPerByte whole =
      bits_per_byte(model<TestType>(), std::span(text), Options{}.limit, Context{});
  REQUIRE(whole.targets == 8192);
  REQUIRE(whole.bits ==
          Approx(TestType::bits_per_byte).margin(2e-6));  // as many digits as are published

  const BitsPerByte part = bits_per_byte(model<TestType>(), std::span(text), 300, Context{});
  REQUIRE(part.targets == 300);
  REQUIRE(part.bits ==
          Approx(bits_per_byte(model<TestType>(), std::span(text).first(301), 0, Context{}).bits));
  REQUIRE(contains(
      message_of([&] { bits_per_byte(model<TestType>(), std::span(text).first(1), 0, Context{}); }),
      "nothing to predict"));
}

TEMPLATE_TEST_CASE("generate: threads change no bit", "[examples]", SoftmaxLm, DeltaNetLm) {
  const Bytes tokens = bytes_of(SafetensorsFile(TestType::golden), "tokens");
  weft::ThreadPool pool(3);
  const Context threads(pool);
  const auto one = logits_in_pieces<TestType>(tokens, {90, 1, 1, 1, 1, 1, 1, 1});
  const auto three = logits_in_pieces<TestType>(tokens, {90, 1, 1, 1, 1, 1, 1, 1}, threads);
  REQUIRE(doubles_of(one.view()) == doubles_of(three.view()));
}

TEMPLATE_TEST_CASE("generate: a step takes no new memory", "[examples]", SoftmaxLm, DeltaNetLm) {
  const Context ctx;
  auto state = model<TestType>().make_state();
  const Index held = model<TestType>().bytes(state);
  REQUIRE(held == TestType::state_floats * Index{sizeof(float)});
  Tensor<float, 2> logits({1, kVocabulary});
  model<TestType>().step(state, 'I', logits, ctx);
  const Index scratch = ctx.scratch_bytes();
  for (int t = 0; t < 100; ++t) model<TestType>().step(state, 'n', logits, ctx);
  REQUIRE(ctx.scratch_bytes() == scratch);
  REQUIRE(model<TestType>().bytes(state) == held);
}

TEST_CASE("generate: a text longer than the cache is refused", "[examples][errors]") {
  auto state = model<SoftmaxLm>().make_state();
  const Bytes text(257, 'a');
  Tensor<float, 2> logits({1, kVocabulary});
  REQUIRE(message_of([&] { model<SoftmaxLm>().prefill(state, text, logits, Context{}); }) != "");
  REQUIRE(contains(message_of([&] { model<SoftmaxLm>().prefill(state, {}, logits, Context{}); }),
                   "empty"));
}

TEST_CASE("generate: the sampler follows temperature and top-k", "[examples]") {
  Tensor<float, 1> logits({kVocabulary});
  std::fill(logits.span().begin(), logits.span().end(), -50.f);
  logits(65) = 2.f;
  logits(66) = 1.f;
  logits(67) = 2.f;
  REQUIRE(Sampler(0, 0, 1)(logits) == 65);  // of equal ones the first
  REQUIRE(Sampler(5, 1, 1)(logits) == 65);

  const auto counts = [&](double temperature, int top_k) {
    Sampler sampler(temperature, top_k, 7);
    std::vector<int> count(256);
    for (int i = 0; i < 20000; ++i) ++count[sampler(logits)];
    return count;
  };
  // exp(2), exp(1), exp(2) of their sum; four standard deviations of 20000 draws are 0.014.
  const auto warm = counts(1, 0);
  REQUIRE(warm[65] / 20000.0 == Approx(0.4223).margin(0.014));
  REQUIRE(warm[66] / 20000.0 == Approx(0.1554).margin(0.014));
  REQUIRE(counts(1, 2)[66] == 0);
  const auto cold = counts(0.1, 0);
  REQUIRE(cold[66] < 10);
  REQUIRE(cold[65] + cold[66] + cold[67] == 20000);

  Sampler a(1, 0, 3), b(1, 0, 3), c(1, 0, 4);
  std::string from_a, from_b, from_c;
  for (int i = 0; i < 64; ++i) {
    from_a += static_cast<char>(a(logits));
    from_b += static_cast<char>(b(logits));
    from_c += static_cast<char>(c(logits));
  }
  REQUIRE(from_a == from_b);
  REQUIRE(from_a != from_c);
}

TEST_CASE("generate: the command line", "[examples]") {
  const auto result =
      parsed({"--prompt", "In", "--tokens", "5", "--temperature", "0", "--top-k", "40", "--seed",
              "18446744073709551615", "--threads", "2", "--model", "m.safetensors"});
  REQUIRE(std::holds_alternative<Options>(result));
  const auto& options = std::get<Options>(result);
  REQUIRE(options.prompt == "In");
  REQUIRE(options.tokens == 5);
  REQUIRE(options.temperature == 0);
  REQUIRE(options.top_k == 40);
  REQUIRE(options.seed == 18446744073709551615u);
  REQUIRE(options.threads == 2);
  REQUIRE(options.model == "m.safetensors");
  REQUIRE(std::get<Options>(parsed({"--help"})).help);
  REQUIRE(std::get<Options>(parsed({"--prompt", ""})).prompt.empty());

  REQUIRE(complaint_about({}) == "give either --prompt TEXT or --bits-per-byte FILE");
  REQUIRE(complaint_about({"--prompt", "a", "--bits-per-byte", "f"}) == complaint_about({}));
  REQUIRE(complaint_about({"--prompt"}) == "--prompt needs a value");
  REQUIRE(complaint_about({"--promt", "a"}) == "unknown argument --promt");
  REQUIRE(contains(complaint_about({"--tokens", "0"}), "--tokens is 0, wanted a number from 1"));
  REQUIRE(contains(complaint_about({"--tokens", "5x"}), "--tokens is 5x"));
  REQUIRE(contains(complaint_about({"--temperature", "nan"}), "--temperature is nan"));
  REQUIRE(contains(complaint_about({"--temperature", "-1"}), "--temperature is -1"));
  REQUIRE(contains(complaint_about({"--top-k", "257"}), "--top-k is 257"));
  REQUIRE(contains(complaint_about({"--threads", "0"}), "--threads is 0"));
}

TEST_CASE("generate: a model file that does not fit is refused", "[examples][errors]") {
  const auto copy_all_but = [](const std::string& left_out, const SafetensorsFile& from,
                               weft::SafetensorsWriter& to) {
    for (const auto& name : from.names()) {
      if (name == left_out) continue;
      if (from.info(name).shape.size() == 1) {
        to.add(name, from.tensor<weft::bf16, 1>(name));
      } else {
        to.add(name, from.tensor<weft::bf16, 2>(name));
      }
    }
    for (const auto& [key, value] : from.metadata()) {
      if (key != left_out) to.metadata(key, value);
    }
  };
  REQUIRE(contains(trouble_with([&](const auto& from, auto& to) {
                     copy_all_but("layers.2.self_attn.k_proj.weight", from, to);
                   }),
                   "layers.2.self_attn.k_proj.weight"));
  REQUIRE(contains(trouble_with([&](const auto& from, auto& to) {
                     copy_all_but("norm.weight", from, to);
                     to.add("norm.weight", Tensor<float, 1>({64}));
                   }),
                   "tensor \"norm.weight\" is [64], wanted [128]"));
  REQUIRE(
      contains(trouble_with([&](const auto& from, auto& to) { copy_all_but("d_model", from, to); }),
               "no metadata entry \"d_model\""));
  REQUIRE(contains(trouble_with([&](const auto& from, auto& to) {
                     copy_all_but("heads", from, to);
                     to.metadata("heads", "3");
                   }),
                   "3 heads on 2"));
  REQUIRE(contains(trouble_with([&](const auto& from, auto& to) {
                     copy_all_but("layers", from, to);
                     to.metadata("layers", "-4");
                   }),
                   "\"layers\" is -4"));
}
