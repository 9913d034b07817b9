#include "catalog/table.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"
#include <weft/catalog.hpp>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

// Every entry of the catalog has its header, its reference, its test and its line of the README.
// (Its benchmark row is checked by the test catalog_bench_rows.)

namespace {

namespace fs = std::filesystem;

const fs::path kRoot = fs::path(WEFT_TEST_DATA).parent_path().parent_path();

/// The contents of all files below a folder whose names end like this, but for this test.
std::string all_text(const fs::path& folder, const std::string& ending) {
  std::string text;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(ending) && name != "catalog_test.cpp") text += contents_of(entry.path());
  }
  return text;
}

/// Whether a text names the key as a whole: softmax/causal is not in "softmax/causal_top_left".
bool names(const std::string& text, const std::string& key) {
  const auto part_of_name = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
  };
  for (std::size_t at = text.find(key); at != std::string::npos; at = text.find(key, at + 1)) {
    const std::size_t end = at + key.size();
    if ((at == 0 || !part_of_name(text[at - 1])) &&
        (end == text.size() || !part_of_name(text[end]))) {
      return true;
    }
  }
  return false;
}

bool is_lower_case(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  });
}

}  // namespace

TEST_CASE("catalog: entries are well formed and unique", "[catalog]") {
  std::set<std::string> keys;
  for (const weft::CatalogEntry& entry : weft::kCatalog) {
    INFO(catalog::key(entry));
    CHECK(keys.insert(catalog::key(entry)).second);
    CHECK(is_lower_case(entry.family));
    CHECK(is_lower_case(entry.name));
    CHECK_FALSE(entry.use.empty());
    CHECK_FALSE(entry.summary.empty());
    CHECK_FALSE(entry.paper.title.empty());
    CHECK(entry.modes.forward);
    const std::string_view id = entry.paper.arxiv;
    CHECK((id.empty() || (id.size() == 10 && id[4] == '.')));
    // A vertical bar would end a cell of the table.
    CHECK(catalog::key(entry).find('|') == std::string::npos);
    CHECK(entry.use.find('|') == std::string_view::npos);
  }
}

TEST_CASE("catalog: every entry has its header, reference, test and line of the README",
          "[catalog]") {
  const std::string references = all_text(kRoot / "tests/reference", ".hpp");
  const std::string tests =
      all_text(kRoot / "tests", "_test.cpp") + all_text(kRoot / "tests/cases", ".hpp");
  for (const weft::CatalogEntry& entry : weft::kCatalog) {
    const std::string key = catalog::key(entry);
    INFO(key);
    CHECK(fs::is_regular_file(kRoot / "include" / entry.header));
    CHECK(names(references, key));
    CHECK(names(tests, key));
  }
}

TEST_CASE("catalog: the README's table is the catalog", "[catalog]") {
  const std::string readme = contents_of(kRoot / "README.md");
  INFO("make it so: weft_catalog update README.md");
  CHECK((catalog::with_table(readme) == readme));
}

TEST_CASE("catalog: a missing name would be noticed", "[catalog]") {
  CHECK(names("[softmax/full]", "softmax/full"));
  CHECK(names("softmax/full", "softmax/full"));
  CHECK_FALSE(names("softmax/causal_top_left", "softmax/causal"));
  CHECK_FALSE(names("mysoftmax/full", "softmax/full"));
  CHECK(catalog::with_table("no markers here").empty());
  CHECK(catalog::with_table(catalog::kEnd + catalog::kBegin).empty());
}
