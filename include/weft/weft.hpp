#pragma once

/// Everything but files (weft/io) and other libraries (weft/interop, weft/core/thread_pool.hpp).
/// A program that counts compile time includes the headers it uses instead.
#include <weft/attention/softmax.hpp>
#include <weft/attention/softmax/gaussian_mixture.hpp>
#include <weft/attention/softmax/lepe.hpp>
#include <weft/attention/softmax/logit_factor.hpp>
#include <weft/attention/softmax/manhattan.hpp>
#include <weft/attention/softmax/positional.hpp>
#include <weft/attention/softmax/rope_alibi.hpp>
#include <weft/attention/softmax/transformer_xl.hpp>
#include <weft/cache/kv_cache.hpp>
#include <weft/cache/paged_kv.hpp>
#include <weft/catalog.hpp>
#include <weft/core/executor.hpp>
#include <weft/core/gemm.hpp>
#include <weft/core/math.hpp>
#include <weft/core/random.hpp>
#include <weft/core/reduce.hpp>
#include <weft/core/tensor.hpp>
#include <weft/layer/depthwise_conv.hpp>
#include <weft/layer/embedding.hpp>
#include <weft/layer/ffn.hpp>
#include <weft/layer/linear.hpp>
#include <weft/layer/norm.hpp>
#include <weft/layer/operator.hpp>
#include <weft/layer/residual.hpp>
#include <weft/layer/rows.hpp>
#include <weft/position/alibi.hpp>
#include <weft/position/complex_phase.hpp>
#include <weft/position/conditional.hpp>
#include <weft/position/relative_bias.hpp>
#include <weft/position/rope.hpp>
#include <weft/position/rope2d.hpp>
#include <weft/position/rope_frequencies.hpp>
#include <weft/position/rope_time.hpp>
#include <weft/position/sinusoidal.hpp>
