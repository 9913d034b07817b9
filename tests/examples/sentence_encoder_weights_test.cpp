/// examples/sentence_encoder: what becomes of damaged model folders.
#include "sentence_encoder/tfjs_model.hpp"
#include "sentence_encoder/weights.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/temporary_folder.hpp"

#include <nlohmann/json.hpp>

#include <vector>

namespace {

using nlohmann::json;
using sentence_encoder::TfjsModel;

template <class T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

json tensor(const char* name, const char* dtype, const std::vector<int>& shape) {
  return {{"name", name}, {"dtype", dtype}, {"shape", shape}};
}

/// A model of two groups: a matrix, a number and an integer in two shards; a vector in one.
json manifest() {
  const json mixed{
      {"paths", json::array({"one", "two"})},
      {"weights", json::array({tensor("matrix", "float32", {1, 1, 2, 3}),
                               tensor("number", "float32", {}), tensor("integer", "int32", {})})}};
  const json single{{"paths", json::array({"three"})},
                    {"weights", json::array({tensor("vector", "float32", {2})})}};
  return {{"weightsManifest", json::array({mixed, single})}};
}

class Folder : public TemporaryFolder {
 public:
  Folder() {
    write(manifest());
    file("one", bytes_of<float>({1, 2, 3, 4}));
    file("two", bytes_of<float>({5, 6, 0.5f}) + bytes_of<std::int32_t>({-7}));
    file("three", bytes_of<float>({8, 9}));
  }
  void write(const json& model) { file("model.json", model.dump()); }

  std::string refusal() const {
    return message_of([&] { TfjsModel model(path()); });
  }
};

}  // namespace

TEST_CASE("a TensorFlow.js model gives its tensors by name") {
  const Folder folder;
  const TfjsModel model(folder.path());
  const auto matrix = model.matrix("matrix", 2, 3);
  for (int i = 0; i < 6; ++i) CHECK(matrix(i / 3, i % 3) == static_cast<float>(i + 1));
  CHECK(model.number("number") == 0.5f);
  CHECK(model.integer("integer") == -7);
  CHECK(model.vector("vector", 2)(1) == 9.f);
  CHECK(model.shape("vector", 1) == std::vector<weft::Index>{2});
}

TEST_CASE("a TensorFlow.js model refuses wrong names, types and shapes") {
  const Folder folder;
  const TfjsModel model(folder.path());
  CHECK(contains(message_of([&] { model.number("nobody"); }), "no tensor nobody"));
  CHECK(contains(message_of([&] { model.number("integer"); }), "another element type"));
  CHECK(contains(message_of([&] { model.integer("number"); }), "another element type"));
  CHECK(contains(message_of([&] { model.matrix("matrix", 3, 2); }),
                 "matrix has shape [1, 1, 2, 3], wanted [3, 2]"));
  CHECK(contains(message_of([&] { model.vector("matrix", 6); }), "wanted [6]"));
  CHECK(contains(message_of([&] { model.shape("vector", 2); }), "wanted 2 dimensions"));
}

TEST_CASE("a TensorFlow.js model refuses damaged shards") {
  Folder folder;
  SECTION("missing") {
    std::filesystem::remove(folder / "two");
    CHECK(contains(folder.refusal(), "cannot open the shard " + (folder / "two").string()));
  }
  SECTION("truncated, the first") {
    folder.file("one", bytes_of<float>({1, 2, 3}));
    CHECK(contains(folder.refusal(), (folder / "one").string() + " is truncated"));
  }
  SECTION("truncated, the last") {
    folder.file("two", bytes_of<float>({1, 2, 3}));
    CHECK(contains(folder.refusal(), (folder / "two").string() + " is truncated"));
  }
  SECTION("too long") {
    folder.file("three", bytes_of<float>({1, 2, 3}));
    CHECK(contains(folder.refusal(), "different models"));
  }
}

TEST_CASE("a TensorFlow.js model refuses a damaged manifest") {
  Folder folder;
  json model = manifest();
  json& group = model["weightsManifest"][1];
  const auto refusal = [&] {
    folder.write(model);
    return folder.refusal();
  };
  SECTION("no file") {
    std::filesystem::remove(folder / "model.json");
    CHECK(contains(folder.refusal(), "cannot open " + (folder / "model.json").string()));
  }
  SECTION("not JSON") {
    folder.file("model.json", "{\"weightsManifest\": [");
    CHECK(contains(folder.refusal(), "not JSON"));
  }
  SECTION("another kind of JSON") {
    model = json::array({1, 2, 3});
    CHECK(contains(refusal(), "not a TensorFlow.js weight manifest"));
  }
  SECTION("a shard outside the folder") {
    group["paths"][0] = "../three";
    CHECK(contains(refusal(), "outside the folder"));
  }
  SECTION("no shard") {
    group["paths"] = json::array();
    CHECK(contains(refusal(), "names no shards"));
  }
  SECTION("a type that is not supported") {
    group["weights"][0]["dtype"] = "bool";
    CHECK(contains(refusal(), "tensor vector is of type bool"));
  }
  SECTION("quantized weights") {
    group["weights"][0]["quantization"] = {{"dtype", "uint8"}};
    CHECK(contains(refusal(), "tensor vector is quantized"));
  }
  SECTION("a negative extent") {
    group["weights"][0]["shape"] = json::array({-2});
    CHECK(contains(refusal(), "impossible shape [-2]"));
  }
  SECTION("an absurd extent") {
    group["weights"][0]["shape"] = json::array({1 << 20, 1 << 20});
    CHECK(contains(refusal(), "impossible shape"));
  }
}

TEST_CASE("weights of another model are refused") {
  const Folder folder;
  CHECK(contains(message_of([&] { sentence_encoder::load_weights(folder.path()); }),
                 "is this the Universal Sentence Encoder Lite?"));
}

TEST_CASE("random weights are the same for the same seed") {
  const sentence_encoder::Sizes sizes{50, 8, 16, 24};
  const auto a = sentence_encoder::random_weights(sizes, 1);
  const auto b = sentence_encoder::random_weights(sizes, 1);
  const auto c = sentence_encoder::random_weights(sizes, 2);
  CHECK(a.embedding(49, 3) == b.embedding(49, 3));
  CHECK(a.embedding(49, 3) != c.embedding(49, 3));
  CHECK(a.layers[0].qkv(0, 0) != a.layers[1].qkv(0, 0));
}
