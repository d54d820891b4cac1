// y = scale (x W^T + bias) on matrix units: weights [rows] are the first operand of mma.sync m16n8k16, tokens the second.
//
// A row tile of 16 is one fragment. Its bytes lie in the artifact so that the four lanes of a row hold eight neighbouring columns
// each of a unit of 32; the products take columns in that order, and activations are read in the same order, 16 bytes a lane.
// Levels and the codes of scales are multiplied as halves (exactly, but where the product needs more than 11 bits: then to half a
// unit of its last place), products are added in f32, and the factor of a block is applied in f32 to sums of at most 64 columns.
// Mins are one more product: their codes by the sums of 16 activations, each a pair of halves that hold 22 bits of it.
//
// x are halves of activations times a power of two, a row for each token, with zeros up to a whole stage of 64 columns; `sums`
// [tokens][stage][4] are those sums, `factors` [tokens] what undoes the power of two (kernels/rows.cuh writes all three).
#pragma once

namespace llmc {

constexpr int STAGE = 64;  // columns
constexpr int UNITS = 2;   // of 32 columns in a stage
constexpr int TILE = 16;   // rows

constexpr int larger(int a, int b) { return a > b ? a : b; }

struct LinearArguments {
  const u8 *w;
  const u16 *x;
  const u32 *sums;
  const float *factors, *bias;
  float *y;
  int k, tiles, ldx, ldy;
  float scale;
  int n_tokens;
};

// A block of WARPS warps computes WARPS / SPLIT * TILES row tiles for TOKENS tokens; SPLIT warps share tiles and divide the columns.
// Weights pass through shared memory that only their warp reads, STAGES stages deep. Where SPLIT is 1, so do activations, for the
// whole block; else lanes read them from global memory, a stage ahead.
template <class F, int WARPS, int SPLIT, int TILES, int TOKENS, int STAGES>
struct Linear {
  static constexpr int GROUPS = WARPS / SPLIT;  // of warps, along the rows
  static constexpr int EIGHTS = TOKENS / 8;
  static constexpr int BLOCKS = larger(F::blocks, 1);  // factors of a row in a stage
  static constexpr int HEADS = F::head_bytes ? (STAGES + F::stages - 2) / F::stages + 1 : 0;
  static constexpr int MINS = F::scaled ? BLOCKS * F::groups * TILE : 0;  // where they begin in a table
  static constexpr int WARP_BYTES = TILES * (STAGES * F::code_bytes + HEADS * F::head_bytes + F::table_bytes);
  static constexpr int X_BYTES = TOKENS * 2 * STAGE, SUM_BYTES = F::lowered ? TOKENS * 16 : 0;
  static constexpr int LOADED = WARPS * WARP_BYTES + (SPLIT == 1 ? STAGES * (X_BYTES + SUM_BYTES) : 0);
  static constexpr int SHARED = larger(LOADED, SPLIT == 1 ? 0 : WARPS * TILES * TILE * TOKENS * 4);

  const LinearArguments &p;
  u8 *memory, *warp_memory;
  int lane, g, t, group, part, first_tile, first_token;
  int local_stages;  // of this warp
  float acc[TILES][EIGHTS][4];
  u32 a[TILES][UNITS][2][4];
  float d[TILES][BLOCKS][2], least[TILES][BLOCKS][2];
  u32 low[TILES][BLOCKS][2];  // codes of mins, for the 16 columns of this lane
  Four x[EIGHTS][UNITS];
  u32 sums[EIGHTS];

  LLMC_DEVICE Linear(const LinearArguments &arguments, u8 *shared) : p(arguments), memory(shared) {
    int warp = threadIdx.x / 32;
    lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    group = warp / SPLIT, part = warp % SPLIT;
    warp_memory = memory + warp * WARP_BYTES;
    first_token = blockIdx.x * TOKENS;
    first_tile = (blockIdx.y * GROUPS + group) * TILES;
    int all = (p.k + STAGE - 1) / STAGE, pieces = (all + F::stages - 1) / F::stages;
    local_stages = SPLIT == 1 ? all : (pieces - part + SPLIT - 1) / SPLIT * F::stages;
  }

  LLMC_DEVICE void run() {
    for (int i = 0; i < TILES; i++)
      for (int n = 0; n < EIGHTS; n++)
        for (int c = 0; c < 4; c++) acc[i][n][c] = 0;
    for (int s = 0; s < STAGES - 1; s++) request(s);
    if (SPLIT > 1) load_x(0);
    for (int s = 0; s < local_stages; s++) {
      wait_copies<STAGES - 2>();
      if (SPLIT == 1) sync_block();
      else sync_warp();
      request(s + STAGES - 1);
      read_weights(s);
      multiply(s);
    }
    if (SPLIT > 1) join();
    else write();
  }

  // Stage `local` of this warp as a stage of the row.
  LLMC_DEVICE int stage_of(int local) const {
    return SPLIT == 1 ? local : (part + SPLIT * (local / F::stages)) * F::stages + local % F::stages;
  }

  LLMC_DEVICE u8 *codes_of(int local, int tile) const { return warp_memory + (local % STAGES * TILES + tile) * F::code_bytes; }
  LLMC_DEVICE u8 *head_of(int local, int tile) const {
    if (!F::head_bytes) return codes_of(local, tile);
    return warp_memory + STAGES * TILES * F::code_bytes + (local / F::stages % larger(HEADS, 1) * TILES + tile) * F::head_bytes;
  }
  LLMC_DEVICE u16 *table_of(int tile) const {
    return (u16 *)(warp_memory + TILES * (STAGES * F::code_bytes + HEADS * F::head_bytes) + tile * F::table_bytes);
  }
  LLMC_DEVICE u8 *x_of(int local) const { return memory + WARPS * WARP_BYTES + local % STAGES * (X_BYTES + SUM_BYTES); }

  // Begins to copy a stage; a group of copies in any case, so that groups can be counted.
  LLMC_DEVICE void request(int local) {
    if (local < local_stages) {
      int stage = stage_of(local);
      for (int i = 0; i < TILES; i++) request_tile(local, stage, i);
      if (SPLIT == 1) request_x(local, stage);
    }
    commit();
  }

  LLMC_DEVICE void request_tile(int local, int stage, int i) {
    int tile = first_tile + i < p.tiles ? first_tile + i : p.tiles - 1;
    u64 row = (u64)(p.k / F::columns) * F::bytes;
    const u8 *w = p.w + tile * row;
    if (F::head_bytes) {
      const u8 *block = w + (u64)(stage / F::stages) * F::bytes;
      if (local % F::stages == 0) request_bytes<F::head_bytes>(head_of(local, i), block, F::head_bytes);
      if (F::code_bytes)
        request_bytes<F::code_bytes>(codes_of(local, i), block + F::block_codes_at + stage % F::stages * F::code_bytes, F::code_bytes);
    } else {
      u64 from = (u64)stage * F::code_bytes, left = row - from;
      request_bytes<F::code_bytes>(codes_of(local, i), w + from, left < F::code_bytes ? (int)left : F::code_bytes);
    }
  }

  // `there` bytes of N by the lanes of a warp, zeros for the others.
  template <int N>
  LLMC_DEVICE void request_bytes(u8 *to, const u8 *from, int there) {
#pragma unroll
    for (int first = 0; first < N / 16; first += 32) {
      int chunk = first + lane, place = F::dense ? chunk ^ (chunk >> 4 & 1) ^ (chunk >> 3 & 4) : chunk;
      if (chunk < N / 16) copy16(to + 16 * place, chunk * 16 < there ? from + 16 * chunk : from, chunk * 16 < there);
    }
  }

  // Rows of 128 bytes; odd tokens have the halves of a row exchanged, so that eight lanes read from all banks.
  LLMC_DEVICE void request_x(int local, int stage) {
    u8 *to = x_of(local);
#pragma unroll
    for (int first = 0; first < TOKENS * 8; first += 32 * WARPS) {
      int chunk = first + threadIdx.x, token = chunk / 8, c = chunk % 8;
      if (TOKENS * 8 % (32 * WARPS) == 0 || chunk < TOKENS * 8)
        copy16(to + token * 128 + 16 * (c ^ (token & 1) << 2), p.x + (u64)row_of(token) * p.ldx + stage * STAGE + 8 * c, true);
    }
    if (F::lowered)
      for (int token = threadIdx.x; token < TOKENS; token += 32 * WARPS)
        copy16(to + X_BYTES + 16 * token, p.sums + (u64)row_of(token) * (p.ldx / 16) + stage * 4, true);
  }

  // A token that exists: what is computed for others is not written.
  LLMC_DEVICE int row_of(int token) const {
    return first_token + token < p.n_tokens ? first_token + token : p.n_tokens - 1;
  }

  LLMC_DEVICE void load_x(int local) {
    if (local >= local_stages) return;
    int stage = stage_of(local);
#pragma unroll
    for (int n = 0; n < EIGHTS; n++) {
      int token = first_token + 8 * n + g;
      bool there = token < p.n_tokens;
      const u16 *row = p.x + (u64)(there ? token : 0) * p.ldx + stage * STAGE + 8 * t;
      for (int u = 0; u < UNITS; u++) x[n][u] = there ? load_four(row + 32 * u) : Four{0, 0, 0, 0};
      if (F::lowered) sums[n] = there ? p.sums[(u64)token * (p.ldx / 16) + stage * 4 + t] : 0;
    }
  }

  // Fragments, factors and mins of the stage.
  LLMC_DEVICE void read_weights(int local) {
    int inside = local % F::stages;
    if (F::groups > 0 && inside == 0) {
      for (int i = 0; i < TILES; i++) tabulate(head_of(local, i), table_of(i));
      sync_warp();
    }
#pragma unroll
    for (int i = 0; i < TILES; i++) {
      if constexpr (F::dense) {
        read_dense(codes_of(local, i), i);
      } else {
#pragma unroll
        for (int row = 0; row < 2; row++) read_row(local, inside, i, row);
      }
    }
  }

  // Codes of groups as halves: scales [block][group][row], then mins or zero points.
  LLMC_DEVICE void tabulate(const u8 *head, u16 *table) {
    constexpr int EACH = larger(F::groups, 1) * TILE, ALL = BLOCKS * EACH;
#pragma unroll
    for (int first = 0; first < ALL; first += 32) {
      int i = first + lane;
      if (ALL % 32 && i >= ALL) break;
      const u8 *block = head + (BLOCKS > 1 ? i / EACH * F::bytes : 0);
      int group = i % EACH / TILE, row = i % TILE;
      if constexpr (F::scaled) table[i] = (u16)F::scale(block, group, row);
      if constexpr (F::coded_min) table[MINS + i] = (u16)F::minimum(block, group, row);
    }
  }

  // `half`: 0 for row g of the tile, 1 for row g + 8.
  LLMC_DEVICE void read_row(int local, int inside, int i, int half) {
    int row = g + 8 * half;
    const u8 *head = head_of(local, i), *codes = codes_of(local, i);
    const u16 *table = table_of(i);
#pragma unroll
    for (int u = 0; u < UNITS; u++) {
      int block = BLOCKS > 1 ? u : 0, unit = BLOCKS > 1 ? 0 : F::head_bytes ? inside * UNITS + u : u;
      const u8 *here = head + block * F::bytes;
      const u8 *units = F::head_bytes ? codes + u * F::unit_bytes : here + F::block_codes_at + unit * F::unit_bytes;
      u32 pair[4];
      F::pair(here, units, unit, t, row, pair);
      int place = (block * F::groups + (unit * 32 + 8 * t) / F::group) * TILE + row;
      if constexpr (F::scaled) {
        u32 scale = twice(table[place]);
        for (int n = 0; n < 4; n++) pair[n] = mul2(pair[n], scale);
      }
      if constexpr (F::zero_points) {
        u32 zero = twice(table[MINS + place]);
        for (int n = 0; n < 4; n++) pair[n] = sub2(pair[n], zero);
      }
      for (int n = 0; n < 4; n++) a[i][u][n / 2][half + 2 * (n % 2)] = pair[n];
    }
#pragma unroll
    for (int b = 0; b < BLOCKS; b++) {
      d[i][b][half] = F::factor(head + b * F::bytes, row);
      if constexpr (F::lowered) {
        least[i][b][half] = F::least(head + b * F::bytes, row);
        bool mine = BLOCKS == 1 || t / 2 == b;  // of the four runs of 16 columns
        int place = (b * F::groups + (inside * STAGE + 16 * t) % F::columns / F::group) * TILE + row;
        low[i][b][half] = !mine ? 0 : F::coded_min ? twice(table[MINS + place]) : 0x3C003C00;
      }
    }
  }

  // Dense weights are stored by columns of 16 rows: their fragments are transposed on the way from shared memory.
  LLMC_DEVICE void read_dense(const u8 *codes, int i) {
    int matrix = lane / 8, j = lane % 8;
#pragma unroll
    for (int u = 0; u < UNITS; u++)
#pragma unroll
      for (int h = 0; h < 2; h++) {
        int column = 32 * u + 8 * (j / 2) + 4 * h + j % 2 + 2 * (matrix / 2), chunk = 2 * column + matrix % 2;
        u32(&to)[4] = a[i][u][h];
        load_matrices_transposed(to, codes + 16 * (chunk ^ (chunk >> 4 & 1) ^ (chunk >> 3 & 4)));
        if (F::bfloat)
          for (int n = 0; n < 4; n++) to[n] = halves(from_bits(to[n] << 16), from_bits(to[n] & 0xFFFF0000));
      }
  }

  LLMC_DEVICE void multiply(int local) {
    Four now[EIGHTS][UNITS];
    u32 now_sums[EIGHTS];
    if (SPLIT > 1) {
#pragma unroll
      for (int n = 0; n < EIGHTS; n++) {
        for (int u = 0; u < UNITS; u++) now[n][u] = x[n][u];
        now_sums[n] = sums[n];
      }
      load_x(local + 1);
    }
    const u8 *rows = x_of(local);
#pragma unroll
    for (int n = 0; n < EIGHTS; n++) {
      Four b[UNITS];
      u32 sum = 0;
      for (int u = 0; u < UNITS; u++)
        b[u] = SPLIT > 1 ? now[n][u] : read_four(rows + (8 * n + g) * 128 + 16 * ((4 * u + t) ^ (g & 1) << 2));
      if (F::lowered) sum = SPLIT > 1 ? now_sums[n] : *(const u32 *)(rows + X_BYTES + (8 * n + g) * 16 + 4 * t);
#pragma unroll
      for (int i = 0; i < TILES; i++) add(i, acc[i][n], b, sum);
    }
  }

  // Adds a stage's products to the sums of a tile and eight tokens.
  LLMC_DEVICE void add(int i, float (&to)[4], const Four (&b)[UNITS], u32 sum) {
    if constexpr (F::dense) {
      for (int u = 0; u < UNITS; u++) {
        mma16(to, a[i][u][0], b[u].x, b[u].y, to);
        mma16(to, a[i][u][1], b[u].z, b[u].w, to);
      }
    } else {
      float part[4];
#pragma unroll
      for (int u = 0; u < UNITS; u++) {
        if (u == 0 || BLOCKS > 1)
          for (int c = 0; c < 4; c++) part[c] = 0;
        mma16(part, a[i][u][0], b[u].x, b[u].y, part);
        mma16(part, a[i][u][1], b[u].z, b[u].w, part);
        if (u == UNITS - 1 || BLOCKS > 1) add_times(to, part, d[i][BLOCKS > 1 ? u : 0]);
      }
      if constexpr (F::lowered) {
#pragma unroll
        for (int block = 0; block < BLOCKS; block++) {
          const float zero[4] = {0, 0, 0, 0};
          mma8(part, low[i][block][0], low[i][block][1], sum, zero);
          add_times(to, part, least[i][block]);
        }
      }
    }
  }

  LLMC_DEVICE void add_times(float (&to)[4], const float (&part)[4], const float (&factor)[2]) {
    for (int c = 0; c < 4; c++) to[c] += part[c] * factor[c / 2];
  }

  // The parts of the columns, in order; a thread for each row and token in turn.
  LLMC_DEVICE void join() {
    constexpr int EACH = TILES * TILE * TOKENS;
    float *sums_of_parts = (float *)memory;
    wait_copies<0>();
    sync_block();
    for (int i = 0; i < TILES; i++)
      for (int n = 0; n < EIGHTS; n++)
        for (int c = 0; c < 4; c++) {
          int row = i * TILE + g + 8 * (c / 2), token = 8 * n + 2 * t + c % 2;
          sums_of_parts[(group * SPLIT + part) * EACH + token * TILES * TILE + row] = acc[i][n][c];
        }
    sync_block();
    for (int i = threadIdx.x; i < GROUPS * EACH; i += 32 * WARPS) {
      const float *first = sums_of_parts + i / EACH * SPLIT * EACH + i % EACH;
      float total = first[0];
      for (int other = 1; other < SPLIT; other++) total += first[other * EACH];
      int row = (blockIdx.y * GROUPS + i / EACH) * TILES * TILE + i % (TILES * TILE);
      int token = first_token + i % EACH / (TILES * TILE);
      if (row >= p.tiles * TILE || token >= p.n_tokens) continue;
      p.y[(u64)token * p.ldy + row] = (total * p.factors[token] + (p.bias ? p.bias[row] : 0)) * p.scale;
    }
  }

  LLMC_DEVICE void write() {
    float bias[TILES][2];
    for (int i = 0; i < TILES; i++)
      for (int half = 0; half < 2; half++)
        bias[i][half] = p.bias && first_tile + i < p.tiles ? p.bias[(first_tile + i) * TILE + g + 8 * half] : 0;
#pragma unroll
    for (int n = 0; n < EIGHTS; n++)
#pragma unroll
      for (int c = 0; c < 2; c++) {
        int token = first_token + 8 * n + 2 * t + c;
        if (token >= p.n_tokens) continue;
        float factor = p.factors[token];
        float *y = p.y + (u64)token * p.ldy + first_tile * TILE + g;
#pragma unroll
        for (int i = 0; i < TILES; i++)
          if (first_tile + i < p.tiles)
            for (int half = 0; half < 2; half++)
              y[i * TILE + 8 * half] = (acc[i][n][c + 2 * half] * factor + bias[i][half]) * p.scale;
      }
  }
};

template <class F, int WARPS, int SPLIT, int TILES, int TOKENS, int STAGES>
LLMC_DEVICE void linear(const LinearArguments &p) {
  typedef Linear<F, WARPS, SPLIT, TILES, TOKENS, STAGES> Work;
  LLMC_SHARED u8 memory[Work::SHARED];
  Work work(p, memory);
  work.run();
}

}  // namespace llmc
