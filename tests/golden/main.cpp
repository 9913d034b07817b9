#include "golden/registry.hpp"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

// weft_golden PATH...: runs expected values from *.safetensors files, given or found below the
// given folders, through the library. The folder and the stem of a file name its mechanism.

namespace {

namespace fs = std::filesystem;

std::vector<fs::path> golden_files(const fs::path& path) {
  if (!fs::is_directory(path)) return {path};
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(path)) {
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

void run_file(const fs::path& path, golden::Report& report) {
  const std::string key =
      (fs::absolute(path).parent_path().filename() / path.stem()).generic_string();
  report.begin(key);
  const golden::Mechanism* mechanism = golden::find(key);
  if (mechanism == nullptr) return report.skip("unknown mechanism");
  try {
    mechanism->run(weft::SafetensorsFile(path), report);
  } catch (const std::exception& e) {
    report.run("", [&](golden::Case& c) { c.fail(e.what()); });
  }
}

}  // namespace

int main(int count, char** arguments) {
  std::vector<fs::path> files;
  try {
    for (int i = 1; i < count; ++i) {
      const auto found = golden_files(arguments[i]);
      files.insert(files.end(), found.begin(), found.end());
    }
  } catch (const fs::filesystem_error& e) {
    std::fprintf(stderr, "weft_golden: %s\n", e.what());
    return 2;
  }
  if (files.empty()) {
    std::fprintf(stderr,
                 "usage: weft_golden PATH...   (files, or folders that hold *.safetensors)\n");
    return 2;
  }
  golden::Report report;
  for (const fs::path& file : files) run_file(file, report);
  report.summary();
  return report.failed() == 0 ? 0 : 1;
}
