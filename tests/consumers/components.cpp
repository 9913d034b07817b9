// The optional parts: files (nlohmann_json) and Eigen's threads.

#include <weft/core/thread_pool.hpp>
#include <weft/io/safetensors.hpp>

int main() {
  weft::ThreadPool pool(2);
  weft::Context context(pool);
  return context.workers() == 2 ? 0 : 1;
}
