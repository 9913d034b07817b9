#include "catalog/table.hpp"

#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>

// weft_catalog names          family/name of every variant, one a line
// weft_catalog table          the README's table
// weft_catalog update FILE    puts the table between the markers of the file

namespace {

int update(const char* path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  const std::string changed = catalog::with_table(text.str());
  if (changed.empty()) {
    std::fprintf(stderr, "weft_catalog: %s cannot be read or has no markers\n", path);
    return 1;
  }
  std::ofstream(path) << changed;
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  const std::string command = count > 1 ? arguments[1] : "";
  if (command == "update" && count == 3) return update(arguments[2]);
  if (command == "table" && count == 2) {
    std::fputs(catalog::table().c_str(), stdout);
    return 0;
  }
  if (command == "names" && count == 2) {
    for (const weft::CatalogEntry& entry : weft::kCatalog) {
      std::printf("%s\n", catalog::key(entry).c_str());
    }
    return 0;
  }
  std::fprintf(stderr, "usage: weft_catalog names | table | update FILE\n");
  return 2;
}
