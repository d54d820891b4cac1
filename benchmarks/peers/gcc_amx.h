/* Makes gcc's AMX intrinsics say which memory they touch: `-include` this when a peer is compiled by gcc.
**
** gcc 12's _tile_loadconfig declares 8 of the 64 bytes that it reads, and its _tile_loadd none, so the compiler may drop the stores
** before them. llama.cpp then loads an unfinished tile configuration and dies of SIGSEGV in its first product. */
#pragma once
#if defined(__GNUC__) && !defined(__clang__) && defined(__AMX_TILE__)
#include <immintrin.h>
#undef _tile_loadconfig
#undef _tile_loadd
#undef _tile_stream_loadd
#define _tile_loadconfig(config) __asm__ volatile("ldtilecfg %0" ::"m"(*(const char (*)[64])(config)) : "memory")
#define LLMC_TILE_LOAD(name, tile, base, stride) \
  __asm__ volatile(name " (%0,%1,1), %%tmm" #tile ::"r"((const void *)(base)), "r"((long)(stride)) : "memory")
#define _tile_loadd(tile, base, stride) LLMC_TILE_LOAD_NAMED("tileloadd", tile, base, stride)
#define _tile_stream_loadd(tile, base, stride) LLMC_TILE_LOAD_NAMED("tileloaddt1", tile, base, stride)
#define LLMC_TILE_LOAD_NAMED(name, tile, base, stride) LLMC_TILE_LOAD(name, tile, base, stride)
#endif
