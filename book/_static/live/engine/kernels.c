// The arithmetic of the three networks, for WebAssembly's SIMD: four
// floats at a time.
//
// n images lie in memory as rows: a row of channels for each pixel, image
// after image ("channels last"). Channels are padded with zeros to a
// multiple of 8. So a 1x1 convolution, a linear layer and an attention
// score are all one thing: the matrix product.
//
// `make wasm` builds kernels.wasm from this file. network.js calls it.

#include <stdint.h>
#include <wasm_simd128.h>

#define EXPORT __attribute__((visibility("default")))

// `floats` are four neighbours in memory; + - * / work on all four.
typedef float floats __attribute__((vector_size(16), aligned(4)));

static inline floats load(const float* at) { return *(const floats*)at; }
static inline void store(float* at, floats value) {
  *(floats*)at = value;
}
static inline floats all(float value) {
  return (floats){value, value, value, value};
}
static inline float sum(floats v) {
  return (v[0] + v[1]) + (v[2] + v[3]);
}
static inline int padded(int channels) { return (channels + 7) & ~7; }

// ---- Functions of one number

// e^x = 2^n e^r with n whole and |r| <= ln 2 / 2; the polynomial is that
// of Cephes' expf (S. L. Moshier).
static inline floats exponential(floats x) {
  x = wasm_f32x4_pmin(all(88.0f), wasm_f32x4_pmax(all(-87.3f), x));
  floats n = wasm_f32x4_nearest(x * 1.44269504f);  // x / ln 2
  // ln 2 in two parts, so that no digit is lost
  floats r = x - n * 0.693359375f + n * 2.12194440e-4f;
  floats p = all(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  // A float's exponent begins at bit 23, and 127 in it means 2^0.
  v128_t whole = wasm_i32x4_trunc_sat_f32x4(n);
  v128_t power = wasm_i32x4_shl(
      wasm_i32x4_add(whole, wasm_i32x4_splat(127)), 23);
  return p * (floats)power;
}

// erf(x), with an error below 1.5e-7: Abramowitz and Stegun 1964,
// formula 7.1.26.
static inline floats error_function(floats x) {
  floats positive = wasm_f32x4_abs(x);
  floats t = 1.0f / (1.0f + 0.3275911f * positive);
  floats p = all(1.061405429f);
  p = p * t - 1.453152027f;
  p = p * t + 1.421413741f;
  p = p * t - 0.284496736f;
  p = p * t + 0.254829592f;
  floats y = 1.0f - p * t * exponential(-positive * positive);
  return wasm_v128_bitselect(y, -y, wasm_f32x4_ge(x, all(0)));
}

static inline floats sigmoid(floats x) {
  return 1.0f / (1.0f + exponential(-x));
}

EXPORT void silu(float* x, int count) {
  for (int i = 0; i < count; i += 4)
    store(x + i, load(x + i) * sigmoid(load(x + i)));
}

// The GELU of CLIP: x sigmoid(1.702 x).
EXPORT void quick_gelu(float* x, int count) {
  for (int i = 0; i < count; i += 4)
    store(x + i, load(x + i) * sigmoid(1.702f * load(x + i)));
}

// The GELU of SD3: x Phi(x), with the tanh that stands for Phi (Hendrycks
// and Gimpel 2016, section 2); (1 + tanh(z)) / 2 is sigmoid(2z).
EXPORT void gelu(float* x, int count) {
  for (int i = 0; i < count; i += 4) {
    floats value = load(x + i);
    floats cubic = value + 0.044715f * value * value * value;
    store(x + i, value * sigmoid(1.5957691216f * cubic));
  }
}

// Rows of 2C become rows of C: the first half times the GELU of the
// second (Shazeer 2020, "GEGLU").
EXPORT void geglu(const float* x, float* y, int rows, int C) {
  for (int row = 0; row < rows; row++, x += 2 * C, y += C)
    for (int c = 0; c < C; c += 4) {
      floats gate = load(x + C + c);
      floats below = 1.0f + error_function(gate * 0.70710678f);
      store(y + c, load(x + c) * 0.5f * gate * below);
    }
}

// ---- Weights

// Half precision to single: the bits move into place, and a factor of
// 2^112 makes up for the other bias.
static inline float from_half(uint16_t half) {
  union {
    uint32_t bits;
    float value;
  } magnitude = {(uint32_t)(half & 0x7fff) << 13};
  float value = magnitude.value * 0x1p112f;
  return half & 0x8000 ? -value : value;
}

EXPORT void unpack_halves(const uint16_t* halves, float* out, int count) {
  for (int i = 0; i < count; i++) out[i] = from_half(halves[i]);
}

// Weights (outputs, inputs, taps) as PyTorch keeps them become panels,
// each a matrix (taps * inputs, 8) of 8 outputs: what the product reads
// lies in a row.
EXPORT void pack_weights(const uint16_t* halves, float* panels,
                         int outputs, int inputs, int taps) {
  for (int first = 0; first < padded(outputs); first += 8)
    for (int tap = 0; tap < taps; tap++)
      for (int input = 0; input < padded(inputs); input++)
        for (int output = first; output < first + 8; output++)
          if (output < outputs && input < inputs) {
            int at = (output * inputs + input) * taps + tap;
            *panels++ = from_half(halves[at]);
          } else {
            *panels++ = 0;
          }
}

// The 3x3 weights g of a convolution become 16 such matrices: G g Gt
// (Lavin and Gray 2016, section 4.1).
EXPORT void pack_winograd(const uint16_t* halves, float* panels,
                          int outputs, int inputs) {
  static const float G[4][3] = {
      {1, 0, 0}, {0.5f, 0.5f, 0.5f}, {0.5f, -0.5f, 0.5f}, {0, 0, 1}};
  int size = padded(outputs) * padded(inputs);
  for (int i = 0; i < 16 * size; i++) panels[i] = 0;
  for (int output = 0; output < outputs; output++)
    for (int input = 0; input < inputs; input++, halves += 9)
      for (int k = 0; k < 16; k++) {
        float value = 0;
        for (int tap = 0; tap < 9; tap++)
          value += G[k / 4][tap / 3] * from_half(halves[tap]) *
                   G[k % 4][tap % 3];
        panels[k * size + (output / 8 * padded(inputs) + input) * 8 +
               output % 8] = value;
      }
}

// ---- The matrix product

// What the sums of a product begin with: the bias, and what is added
// besides. Either may be 0.
static inline floats start(const float* bias, const float* add, int n) {
  floats value = bias ? load(bias + n) : all(0);
  return add ? value + load(add + n) : value;
}

// `count` rows of A times one panel of B. Four rows, two times four sums
// each, leave the processor's 16 registers room for what they are made
// of; with six rows a call of the UNet took 1.6 times as long.
static inline __attribute__((always_inline)) void rows_by_panel(
    const int count, const float* A, int lda, const float* B,
    const float* bias, const float* add, int ld_add, float* C, int ldc,
    int K) {
  floats sums[4][2];
  for (int i = 0; i < count; i++)
    for (int j = 0; j < 2; j++)
      sums[i][j] = start(bias, add ? add + i * ld_add : 0, 4 * j);
  for (int k = 0; k < K; k++, A++, B += 8)
    for (int i = 0; i < count; i++)
      for (int j = 0; j < 2; j++)
        sums[i][j] += A[i * lda] * load(B + 4 * j);
  for (int i = 0; i < count; i++)
    for (int j = 0; j < 2; j++) store(C + i * ldc + 4 * j, sums[i][j]);
}

// C (M, N) = A (M, K) B + bias + add. B is in panels; N is a multiple
// of 8. bias and add may be 0.
// lda, ldc, ld_add: how far apart rows lie in memory.
EXPORT void product(const float* A, int lda, const float* B,
                    const float* bias, const float* add, int ld_add,
                    float* C, int ldc, int M, int N, int K) {
  for (int n = 0; n < N; n += 8, B += 8 * K, C += 8) {
    const float *from = bias ? bias + n : 0, *more = add ? add + n : 0;
    int row = 0;
    for (; row + 4 <= M; row += 4)
      rows_by_panel(4, A + row * lda, lda, B, from,
                    more ? more + row * ld_add : 0, ld_add, C + row * ldc,
                    ldc, K);
    for (; row < M; row++)
      rows_by_panel(1, A + row * lda, lda, B, from,
                    more ? more + row * ld_add : 0, ld_add, C + row * ldc,
                    ldc, K);
  }
}

// ---- The 3x3 convolution

// One pixel's four channels, and zeros beside the picture. doubled: each
// pixel stands there 2x2 times.
static inline floats pixel(const float* image, int H, int W, int C,
                           int row, int column, int doubled) {
  if (row < 0 || row >= H << doubled || column < 0 ||
      column >= W << doubled)
    return all(0);
  return load(image + ((row >> doubled) * W + (column >> doubled)) * C);
}

#define TILES 32  // so many at a time

// Winograd's way: 4x4 pixels give 2x2 results with 16 multiplications,
// where the plain way takes 36. With the matrices of Lavin and Gray 2016,
// section 4.1: Y = At [(G g Gt) * (Bt d B)] A. Each of the 16 is a
// product of its own, over all tiles and channels; B holds the 16
// matrices G g Gt that pack_winograd made.
// x: n images (H, W, C), read as (2H, 2W, C) if doubled.
// y: as large as what is read, with N channels.
// room: for 16 * TILES * (C + N) floats.
EXPORT void convolve(const float* x, int n, int H, int W, int C,
                     int doubled, const float* B, const float* bias,
                     const float* add, float* y, int N, float* room) {
  int rows = H << doubled, columns = W << doubled;
  int across = (columns + 1) / 2, of_one = (rows + 1) / 2 * across;
  int tiles = n * of_one;
  float *tile_of = room, *result = room + 16 * TILES * C;
  for (int first = 0; first < tiles; first += TILES) {
    int count = tiles - first < TILES ? tiles - first : TILES;
    for (int i = 0; i < count; i++) {
      int image = (first + i) / of_one, tile = (first + i) % of_one;
      int top = tile / across * 2 - 1, left = tile % across * 2 - 1;
      for (int c = 0; c < C; c += 4) {
        floats half[4][4];
        for (int j = 0; j < 4; j++) {  // Bt d
          floats d[4];
          for (int k = 0; k < 4; k++)
            d[k] = pixel(x + image * H * W * C + c, H, W, C, top + k,
                         left + j, doubled);
          half[0][j] = d[0] - d[2];
          half[1][j] = d[1] + d[2];
          half[2][j] = d[2] - d[1];
          half[3][j] = d[1] - d[3];
        }
        float* to = tile_of + i * C + c;
        for (int k = 0; k < 4; k++, to += 4 * TILES * C) {  // ... B
          store(to, half[k][0] - half[k][2]);
          store(to + TILES * C, half[k][1] + half[k][2]);
          store(to + 2 * TILES * C, half[k][2] - half[k][1]);
          store(to + 3 * TILES * C, half[k][1] - half[k][3]);
        }
      }
    }
    for (int k = 0; k < 16; k++)
      product(tile_of + k * TILES * C, C, B + k * N * C, 0, 0, 0,
              result + k * TILES * N, N, count, N, C);
    for (int i = 0; i < count; i++) {
      int image = (first + i) / of_one, tile = (first + i) % of_one;
      int row = tile / across * 2, column = tile % across * 2;
      for (int c = 0; c < N; c += 4) {
        floats half[2][4];
        for (int j = 0; j < 4; j++) {  // At m
          floats m[4];
          for (int k = 0; k < 4; k++)
            m[k] = load(result + ((4 * k + j) * TILES + i) * N + c);
          half[0][j] = m[0] + m[1] + m[2];
          half[1][j] = m[1] - m[2] - m[3];
        }
        for (int k = 0; k < 2 && row + k < rows; k++)  // ... A
          for (int j = 0; j < 2 && column + j < columns; j++) {
            floats value = j ? half[k][1] - half[k][2] - half[k][3]
                             : half[k][0] + half[k][1] + half[k][2];
            int to =
                ((image * rows + row + k) * columns + column + j) * N + c;
            store(y + to, value + start(bias, add ? add + to - c : 0, c));
          }
      }
    }
  }
}

#define PIXELS 64  // so many at a time

// Every second pixel only: the plain way. A pixel's 9 neighbours are laid
// side by side in a row of 9C, and the rest is a product.
// before: rows and columns of zeros above and left of the picture.
// room: for PIXELS * 9 * C floats.
EXPORT void downsample(const float* x, int n, int H, int W, int C,
                       int before, const float* B, const float* bias,
                       float* y, int N, float* room) {
  int columns = W / 2, pixels = H / 2 * columns;
  for (int first = 0; first < n * pixels; first += PIXELS) {
    int count = n * pixels - first < PIXELS ? n * pixels - first : PIXELS;
    float* to = room;
    for (int i = first; i < first + count; i++) {
      int top = i % pixels / columns * 2 - before;
      int left = i % columns * 2 - before;
      for (int k = 0; k < 9; k++)
        for (int c = 0; c < C; c += 4, to += 4)
          store(to, pixel(x + i / pixels * H * W * C + c, H, W, C,
                          top + k / 3, left + k % 3, 0));
    }
    product(room, 9 * C, B, bias, 0, 0, y + first * N, N, count, N,
            9 * C);
  }
}

// ---- Norms

// Mean 0 and variance 1 over all pixels of a group of channels, then
// weight and bias (Wu and He 2018); then SiLU, if asked for.
// room: for 2C floats.
EXPORT void group_norm(const float* x, int n, int pixels, int C,
                       int groups, float epsilon, const float* weight,
                       const float* bias, float* y, int with_silu,
                       float* room) {
  float *shift = room, *scale = room + C;
  int width = C / groups;
  double count = (double)pixels * width;
  for (int image = 0; image < n;
       image++, x += pixels * C, y += pixels * C) {
    for (int c = 0; c < C; c += 4) {
      floats total = all(0);
      for (int i = 0; i < pixels; i++) total += load(x + i * C + c);
      store(shift + c, total);
    }
    for (int first = 0; first < C; first += width) {
      double total = 0;
      for (int c = first; c < first + width; c++) total += shift[c];
      for (int c = first; c < first + width; c++)
        shift[c] = total / count;
    }
    for (int c = 0; c < C; c += 4) {
      floats total = all(0), mean = load(shift + c);
      for (int i = 0; i < pixels; i++) {
        floats off = load(x + i * C + c) - mean;
        total += off * off;
      }
      store(scale + c, total);
    }
    for (int first = 0; first < C; first += width) {
      double total = 0;
      for (int c = first; c < first + width; c++) total += scale[c];
      float inverse = 1.0 / __builtin_sqrt(total / count + epsilon);
      for (int c = first; c < first + width; c++) {
        scale[c] = inverse * weight[c];
        shift[c] = bias[c] - shift[c] * scale[c];
      }
    }
    for (int i = 0; i < pixels; i++)
      for (int c = 0; c < C; c += 4) {
        floats value =
            load(x + i * C + c) * load(scale + c) + load(shift + c);
        store(y + i * C + c, with_silu ? value * sigmoid(value) : value);
      }
  }
}

// Mean 0 and variance 1 over the channels of each row, then weight and
// bias (Ba et al. 2016).
EXPORT void layer_norm(const float* x, int rows, int C, float epsilon,
                       const float* weight, const float* bias, float* y) {
  for (int row = 0; row < rows; row++, x += C, y += C) {
    floats total = all(0), squares = all(0);
    for (int c = 0; c < C; c += 4) total += load(x + c);
    float mean = sum(total) / C;
    for (int c = 0; c < C; c += 4)
      squares += (load(x + c) - mean) * (load(x + c) - mean);
    float inverse = 1.0f / __builtin_sqrtf(sum(squares) / C + epsilon);
    for (int c = 0; c < C; c += 4)
      store(y + c, (load(x + c) - mean) * inverse * load(weight + c) +
                       load(bias + c));
  }
}

// ---- Attention

#define QUERIES 32  // so many at a time

// One image: softmax(Q K^T / sqrt(D)) V for each head (Vaswani et al.
// 2017, equation 1).
// q (L, heads * D), k and v (Lk, heads * D), out (L, heads * D), with
// ld_q, ld_kv and ld_out between their rows.
// causal: no query sees a key behind its own place, as in CLIP.
// maps: the probabilities are added here, (heads, Lk, L); 0 for nowhere.
// room: for padded(Lk) * (2 * D + QUERIES) floats.
EXPORT void attention(const float* q, int ld_q, const float* k,
                      const float* v, int ld_kv, float* out, int ld_out,
                      int L, int Lk, int heads, int D, int causal,
                      float* maps, float* room) {
  int wide = padded(Lk);
  float *keys = room, *values = keys + wide * D;
  float* scores = values + wide * D;
  float scale = 1.0f / __builtin_sqrtf(D);
  for (int head = 0; head < heads;
       head++, q += D, k += D, v += D, out += D) {
    // Both as panels: of 8 keys, and of 8 channels of the values.
    for (int j = 0; j < wide; j++)
      for (int d = 0; d < D; d++)
        keys[(j / 8 * D + d) * 8 + j % 8] = j < Lk ? k[j * ld_kv + d] : 0;
    for (int d = 0; d < D; d += 4)
      for (int j = 0; j < Lk; j++)
        store(values + (d / 8 * Lk + j) * 8 + d % 8,
              load(v + j * ld_kv + d));
    for (int first = 0; first < L; first += QUERIES) {
      int count = L - first < QUERIES ? L - first : QUERIES;
      product(q + first * ld_q, ld_q, keys, 0, 0, 0, scores, wide, count,
              wide, D);
      for (int i = 0; i < count; i++) {
        float* row = scores + i * wide;
        int seen = causal ? first + i + 1 : Lk;
        for (int j = seen; j < wide; j++) row[j] = -__builtin_inff();
        floats highest = load(row), total = all(0);
        for (int j = 4; j < wide; j += 4)
          highest = wasm_f32x4_pmax(highest, load(row + j));
        float top = highest[0];
        for (int j = 1; j < 4; j++)
          top = highest[j] > top ? highest[j] : top;
        for (int j = 0; j < wide; j += 4) {
          floats score = load(row + j);
          floats value = exponential((score - top) * scale);
          // What is not seen has e^-87, which is as good as 0 but not 0.
          value = wasm_v128_and(
              value, wasm_f32x4_gt(score, all(-__builtin_inff())));
          store(row + j, value);
          total += value;
        }
        float share = 1.0f / sum(total);
        for (int j = 0; j < wide; j += 4)
          store(row + j, load(row + j) * share);
        if (maps)
          for (int j = 0; j < Lk; j++)
            maps[(head * Lk + j) * L + first + i] += row[j];
      }
      product(scores, wide, values, 0, 0, 0, out + first * ld_out, ld_out,
              count, D, Lk);
    }
  }
}

// ---- Rows side by side

// A skip connection's channels behind those of the way up.
EXPORT void concatenate(const float* a, int Ca, const float* b, int Cb,
                        float* y, int rows) {
  for (int row = 0; row < rows; row++) {
    for (int c = 0; c < Ca; c += 4, a += 4, y += 4) store(y, load(a));
    for (int c = 0; c < Cb; c += 4, b += 4, y += 4) store(y, load(b));
  }
}

// y = x + gate h: how much of h counts, each channel says for itself.
EXPORT void gated(const float* x, const float* h, const float* gate,
                  float* y, int rows, int C) {
  for (int row = 0; row < rows; row++)
    for (int c = 0; c < C; c += 4, x += 4, h += 4, y += 4)
      store(y, load(x) + load(gate + c) * load(h));
}
