// A stand-in for the pooled allocator of ArrayBuffers that Deno works on, to be preloaded: freed
// memory of 16 KiB to 16 MiB goes onto a list for each power of two, of at most 8 MiB, and is zeroed
// when it is taken again. V8 counts external memory as ever.
#include <malloc.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>

enum { LEAST = 14, MOST = 24, KEPT_BYTES = 8 << 20 };

extern void *__libc_calloc(size_t count, size_t each);
extern void __libc_free(void *memory);

struct node {
  struct node *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct node *lists[MOST + 1];
static size_t kept_bytes[MOST + 1];

static int log2_of(size_t size) { return 63 - __builtin_clzl(size); }

void *calloc(size_t count, size_t each) {
  size_t size;
  if (__builtin_mul_overflow(count, each, &size)) return NULL;
  if (size <= 1 << (LEAST - 1) || size > 1 << MOST) {
    return __libc_calloc(count, each);
  }
  int class = log2_of(size - 1) + 1;
  pthread_mutex_lock(&lock);
  struct node *found = lists[class];
  if (found != NULL) {
    lists[class] = found->next;
    kept_bytes[class] -= 1ul << class;
  }
  pthread_mutex_unlock(&lock);
  if (found == NULL) return __libc_calloc(1, 1ul << class);
  return memset(found, 0, size);
}

void free(void *memory) {
  if (memory == NULL) return;
  int class = log2_of(malloc_usable_size(memory) | 1);
  int is_kept = 0;
  if (class >= LEAST && class <= MOST) {
    pthread_mutex_lock(&lock);
    is_kept = kept_bytes[class] + (1ul << class) <= KEPT_BYTES;
    if (is_kept) {
      struct node *node = memory;
      node->next = lists[class];
      lists[class] = node;
      kept_bytes[class] += 1ul << class;
    }
    pthread_mutex_unlock(&lock);
  }
  if (!is_kept) __libc_free(memory);
}
