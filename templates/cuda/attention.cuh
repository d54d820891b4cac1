// Causal attention of many tokens over the paged cache on matrix units ("flash attention", arXiv:2307.08691).
//
// A block has 64 tokens and one query head, a warp 16 of the tokens. Scores of KEYS keys are products of queries, as halves in
// registers, and keys from shared memory; softmax is online in f32; its chances, as halves, multiply the values. Keys lie in a page
// as [feature][key] and values as [key][feature], so both are read transposed. Rows of shared memory are 16 bytes longer than their
// contents, so that eight of them meet no bank twice. Tokens of several sequences take one sequence after another.
#pragma once

namespace llmc {

constexpr int PAGE = 64;  // positions
constexpr int QUERIES = 64;
constexpr float LOG2_E = 1.44269504f;
constexpr int WARP_ROWS = 16;

LLMC_DEVICE float nothing() { return from_bits(0xFF800000); }  // the score of a key that is not seen: minus infinity

struct AttentionArguments {
  const float *q;
  const u8 *kv;
  const int *tables, *sequence, *positions;
  const float *sinks;
  float *o;
  int kv_heads, heads_per_kv, ldq, ldo, table_stride;
  long long page_bytes;
  float scale, softcap;
  int window, n_tokens;
};

template <int D, int KEYS>
struct Attention {
  static constexpr int STEPS = D / 16, EIGHTS = KEYS / 8, FEATURES = D / 8;
  static constexpr int KEY_ROW = KEYS * 2 + 16, VALUE_ROW = D * 2 + 16;
  static constexpr int SHARED = D * KEY_ROW + KEYS * VALUE_ROW;

  const AttentionArguments &p;
  u8 *keys, *values;
  int warp, lane, g, t, first, head, last;
  int position[2], of[2];  // of rows g and g + 8 of the warp: position, sequence or -1
  u32 q[STEPS][4];
  float scores[EIGHTS][4], acc[FEATURES][4], largest[2], total[2];

  LLMC_DEVICE Attention(const AttentionArguments &arguments, u8 *shared)
      : p(arguments), keys(shared), values(shared + D * KEY_ROW) {
    warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    first = blockIdx.x * QUERIES, head = blockIdx.y;
    last = first + QUERIES < p.n_tokens ? first + QUERIES : p.n_tokens;
  }

  LLMC_DEVICE void run() {
    for (int r = 0; r < 2; r++) {
      int token = token_of(r);
      position[r] = token < last ? p.positions[token] : -1;
      of[r] = token < last ? p.sequence[token] : -1;
      largest[r] = nothing(), total[r] = 0;
    }
    for (int n = 0; n < FEATURES; n++)
      for (int c = 0; c < 4; c++) acc[n][c] = 0;
    read_queries();
    for (int begin = first, end; begin < last; begin = end) {
      int sequence = p.sequence[begin];
      for (end = begin + 1; end < last && p.sequence[end] == sequence;) end++;
      attend(sequence, p.positions[begin], p.positions[end - 1]);
    }
    write();
  }

  LLMC_DEVICE int token_of(int r) const { return first + warp * WARP_ROWS + g + 8 * r; }

  LLMC_DEVICE void read_queries() {
#pragma unroll
    for (int s = 0; s < STEPS; s++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        int token = token_of(i % 2);
        const float *at = p.q + (u64)token * p.ldq + head * D + 16 * s + 8 * (i / 2) + 2 * t;
        q[s][i] = token < last ? halves(at[0] * p.scale, at[1] * p.scale) : 0;
      }
  }

  // Keys that tokens at positions `oldest` to `newest` of a sequence see.
  LLMC_DEVICE void attend(int sequence, int oldest, int newest) {
    int begin = p.window > 0 && oldest - p.window + 1 > 0 ? (oldest - p.window + 1) / KEYS : 0, end = newest / KEYS + 1;
    const int *table = p.tables + (u64)sequence * p.table_stride;
    request_keys(table, begin);
    commit();
    request_values(table, begin);
    commit();
    for (int chunk = begin; chunk < end; chunk++) {
      bool mine = sees(sequence, chunk);
      wait_copies<1>();
      sync_block();
      if (mine) score(sequence, chunk * KEYS);
      sync_block();
      if (chunk + 1 < end) request_keys(table, chunk + 1);
      commit();
      wait_copies<1>();
      sync_block();
      if (mine) add_values();
      sync_block();
      if (chunk + 1 < end) request_values(table, chunk + 1);
      commit();
    }
    wait_copies<0>();
  }

  // Whether a row of this warp may see a key of the chunk; the same in all its lanes.
  LLMC_DEVICE bool sees(int sequence, int chunk) const {
    bool found = false;
    for (int i = 0; i < WARP_ROWS; i++) {
      int token = first + warp * WARP_ROWS + i;
      found = found || (token < last && p.sequence[token] == sequence && p.positions[token] >= chunk * KEYS);
    }
    return found;
  }

  LLMC_DEVICE const u8 *page_of(const int *table, int chunk) const {
    return p.kv + (u64)table[chunk * KEYS / PAGE] * p.page_bytes;
  }

  LLMC_DEVICE void request_keys(const int *table, int chunk) {
    const u8 *from = page_of(table, chunk) + (u64)(head / p.heads_per_kv) * (D * PAGE * 2) + chunk * KEYS % PAGE * 2;
    for (int i = threadIdx.x; i < D * EIGHTS; i += 2 * QUERIES) {
      int feature = i / EIGHTS, c = i % EIGHTS;
      copy16(keys + feature * KEY_ROW + 16 * c, from + feature * (PAGE * 2) + 16 * c, true);
    }
  }

  LLMC_DEVICE void request_values(const int *table, int chunk) {
    const u8 *from = page_of(table, chunk) + (u64)(p.kv_heads + head / p.heads_per_kv) * (D * PAGE * 2);
    from += chunk * KEYS % PAGE * (D * 2);
    for (int i = threadIdx.x; i < KEYS * FEATURES; i += 2 * QUERIES) {
      int key = i / FEATURES, c = i % FEATURES;
      copy16(values + key * VALUE_ROW + 16 * c, from + key * (D * 2) + 16 * c, true);
    }
  }

  // Scores of the chunk's keys become chances; what was summed before shrinks to the new maximum.
  LLMC_DEVICE void score(int sequence, int key) {
#pragma unroll
    for (int n = 0; n < EIGHTS; n++)
      for (int c = 0; c < 4; c++) scores[n][c] = 0;
#pragma unroll
    for (int s = 0; s < STEPS; s++)
#pragma unroll
      for (int n = 0; n < EIGHTS; n += 2) {
        u32 b[4];
        load_matrices_transposed(b, keys + (16 * s + lane % 16) * KEY_ROW + 16 * (n + lane / 16));
        mma16(scores[n], q[s], b[0], b[1], scores[n]);
        mma16(scores[n + 1], q[s], b[2], b[3], scores[n + 1]);
      }
#pragma unroll
    for (int n = 0; n < EIGHTS; n++)
      for (int c = 0; c < 4; c++) scores[n][c] = limited(scores[n][c], sequence, key + 8 * n + 2 * t + c % 2, c / 2);
    for (int r = 0; r < 2; r++) soften(r);
  }

  LLMC_DEVICE float limited(float score, int sequence, int key, int r) const {
    if (p.softcap > 0) score = p.softcap * tanh_of(score / p.softcap);
    bool seen = of[r] == sequence && key <= position[r] && (p.window <= 0 || key > position[r] - p.window);
    return seen ? score : nothing();
  }

  LLMC_DEVICE void soften(int r) {
    float top = largest[r], sum = 0;
#pragma unroll
    for (int n = 0; n < EIGHTS; n++) top = fmaxf(top, fmaxf(scores[n][2 * r], scores[n][2 * r + 1]));
    top = fmaxf(top, shuffle_xor(top, 1));
    top = fmaxf(top, shuffle_xor(top, 2));
    float base = top == nothing() ? 0 : top, shrink = exp2_of((largest[r] - base) * LOG2_E);
#pragma unroll
    for (int n = 0; n < EIGHTS; n++)
      for (int c = 2 * r; c < 2 * r + 2; c++) sum += scores[n][c] = exp2_of((scores[n][c] - base) * LOG2_E);
    sum += shuffle_xor(sum, 1);
    sum += shuffle_xor(sum, 2);
    total[r] = total[r] * shrink + sum;
    largest[r] = top;
#pragma unroll
    for (int n = 0; n < FEATURES; n++)
      for (int c = 2 * r; c < 2 * r + 2; c++) acc[n][c] *= shrink;
  }

  // Chances of 16 keys are the fragment that two products of eight keys left.
  LLMC_DEVICE void add_values() {
#pragma unroll
    for (int s = 0; s < KEYS / 16; s++) {
      const float(&low)[4] = scores[2 * s], (&high)[4] = scores[2 * s + 1];
      u32 a[4] = {halves(low[0], low[1]), halves(low[2], low[3]), halves(high[0], high[1]), halves(high[2], high[3])};
#pragma unroll
      for (int n = 0; n < FEATURES; n += 2) {
        u32 b[4];
        load_matrices_transposed(b, values + (16 * s + lane % 16) * VALUE_ROW + 16 * (n + lane / 16));
        mma16(acc[n], a, b[0], b[1], acc[n]);
        mma16(acc[n + 1], a, b[2], b[3], acc[n + 1]);
      }
    }
  }

  LLMC_DEVICE void write() {
    for (int r = 0; r < 2; r++) {
      int token = token_of(r);
      if (token >= last) continue;
      float all = total[r];
      if (p.sinks) all += exp2_of((p.sinks[head] - largest[r]) * LOG2_E);
      float *o = p.o + (u64)token * p.ldo + head * D + 2 * t;
#pragma unroll
      for (int n = 0; n < FEATURES; n++)
        for (int c = 0; c < 2; c++) o[8 * n + c] = acc[n][2 * r + c] / all;
    }
  }
};

template <int D, int KEYS>
LLMC_DEVICE void attention(const AttentionArguments &p) {
  typedef Attention<D, KEYS> Work;
  LLMC_SHARED u8 memory[Work::SHARED];
  Work work(p, memory);
  work.run();
}

}  // namespace llmc
