/// oneDNN rows: peer/onednn/gemm/... Plain and transposed operands by dnnl_sgemm; constant ones by
/// the matmul primitive with weights in the layout that it asks for (format_tag::any), reordered
/// beforehand. Threads: the library's OpenMP runtime is told to use one.
#include "support/gemm_cases.hpp"
#include "support/inputs.hpp"

#include <dlfcn.h>
#include <dnnl.hpp>

#include <stdexcept>
#include <string>
#include <unordered_map>

namespace {

using bench::GemmCase;
using bench::Operand;
using bench::Type;
using bench::uniform;
using dnnl::memory;
using Tag = memory::format_tag;

/// Found at run time: this program itself is not linked to an OpenMP runtime.
void use_one_thread() {
  auto* symbol = dlsym(RTLD_DEFAULT, "omp_set_num_threads");
  if (symbol == nullptr) throw std::runtime_error("oneDNN was built without OpenMP");
  reinterpret_cast<void (*)(int)>(symbol)(1);
}

void add_sgemm(const GemmCase& g) {
  const char transposed = g.b == Operand::transposed ? 'T' : 'N';
  const weft::Index ldb = g.b == Operand::transposed ? g.k : g.n;
  g.row().by("peer/onednn").add([g, transposed, ldb] {
    return [g, transposed, ldb, a = uniform<float>({g.m, g.k}), b = uniform<float>({g.k, g.n}),
            c = uniform<float>({g.m, g.n})]() mutable {
      dnnl_sgemm('N', transposed, g.m, g.n, g.k, 1.f, a.data(), g.k, b.data(), ldb, 0.f, c.data(),
                 g.n);
    };
  });
}

/// A matmul with constant weights, ready to run.
class Matmul {
 public:
  struct Types {
    memory::data_type left, right, out;
  };

  Matmul(const GemmCase& g, const Types& types) {
    const memory::desc a({g.m, g.k}, types.left, Tag::ab), b({g.k, g.n}, types.right, Tag::ab);
    const memory::desc c({g.m, g.n}, types.out, Tag::ab);
    const memory::desc any({g.k, g.n}, types.right, Tag::any);
    const dnnl::matmul::primitive_desc chosen({a, any, c}, engine_);
    memory weights(chosen.weights_desc(), engine_);
    memory plain = filled(b);
    dnnl::reorder(plain, weights).execute(stream_, plain, weights);
    stream_.wait();
    arguments_ = {
        {DNNL_ARG_SRC, filled(a)}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DST, memory(c, engine_)}};
    matmul_ = dnnl::matmul(chosen);
  }

  void operator()() {
    matmul_.execute(stream_, arguments_);
    stream_.wait();
  }

 private:
  /// Uniform values, converted from fp32 to the type of `desc`.
  memory filled(const memory::desc& desc) {
    const auto dims = desc.dims();
    auto values = uniform<float>({dims[0], dims[1]});
    memory source({dims, memory::data_type::f32, Tag::ab}, engine_, values.data());
    memory target(desc, engine_);
    dnnl::reorder(source, target).execute(stream_, source, target);
    stream_.wait();
    return target;
  }

  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  std::unordered_map<int, memory> arguments_;
  dnnl::matmul matmul_;
};

Matmul::Types types_of(Type type) {
  using D = memory::data_type;
  if (type == Type::bf16) return {D::bf16, D::bf16, D::f32};
  if (type == Type::u8s8) return {D::u8, D::s8, D::s32};
  return {D::f32, D::f32, D::f32};
}

void add_matmul(const GemmCase& g) {
  g.row().by("peer/onednn").add([g] { return Matmul(g, types_of(g.type)); });
}

const bench::Rows rows([] {
  use_one_thread();
  for (const GemmCase& g : bench::kGemmCases) {
    if (g.b == Operand::packed)
      add_matmul(g);
    else if (g.type == Type::f32)
      add_sgemm(g);
  }
});

}  // namespace
