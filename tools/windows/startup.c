/*
 * bcryptprimitives.dll for tests under Wine 8, never for real Windows and never
 * published: what deno.exe needs to start there, and nothing that it uses later.
 *
 * - deno.exe imports ProcessPrng, and Wine 8 has no such DLL.
 * - Wine 8 exports VirtualAlloc2 and its relatives, but not the placeholder
 *   mappings that V8 then counts on. When GetProcAddress denies having them, V8
 *   does what it does on older Windows.
 *
 * VirtualAlloc, VirtualFree and VirtualProtect, which the library calls, are
 * Wine's own.
 */
#include <windows.h>
#include <string.h>

/* RtlGenRandom under the only name that advapi32.dll exports. */
BOOLEAN NTAPI SystemFunction036(PVOID bytes, ULONG size);

__declspec(dllexport) BOOL WINAPI ProcessPrng(BYTE *bytes, SIZE_T size) {
  while (size > 0) {
    ULONG piece = size < MAXLONG ? (ULONG)size : MAXLONG;
    if (!SystemFunction036(bytes, piece)) return FALSE;
    bytes += piece;
    size -= piece;
  }
  return TRUE;
}

static const char *const hidden[] = {
  "VirtualAlloc2", "MapViewOfFile3", "UnmapViewOfFile2"
};

static FARPROC WINAPI lookUp(HMODULE module, LPCSTR name) {
  /* Functions may also be asked for by number. */
  if (!IS_INTRESOURCE(name)) {
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++) {
      if (strcmp(name, hidden[i]) == 0) {
        SetLastError(ERROR_PROC_NOT_FOUND);
        return NULL;
      }
    }
  }
  return GetProcAddress(module, name);
}

/* Puts lookUp in the place of GetProcAddress in the import table of the program. */
static BOOL divert(void) {
  BYTE *image = (BYTE *)GetModuleHandleW(NULL);
  IMAGE_DOS_HEADER *dos = (IMAGE_DOS_HEADER *)image;
  IMAGE_NT_HEADERS *headers = (IMAGE_NT_HEADERS *)(image + dos->e_lfanew);
  IMAGE_DATA_DIRECTORY table =
    headers->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_IAT];
  ULONG_PTR *entry = (ULONG_PTR *)(image + table.VirtualAddress);
  ULONG_PTR *end = entry + table.Size / sizeof *entry;
  DWORD access;

  while (entry < end && *entry != (ULONG_PTR)GetProcAddress) entry++;
  if (entry == end) return FALSE;
  if (!VirtualProtect(entry, sizeof *entry, PAGE_READWRITE, &access)) {
    return FALSE;
  }
  *entry = (ULONG_PTR)lookUp;
  return VirtualProtect(entry, sizeof *entry, access, &access);
}

BOOL WINAPI DllMain(HINSTANCE dll, DWORD reason, LPVOID reserved) {
  (void)dll;
  (void)reserved;
  return reason != DLL_PROCESS_ATTACH || divert();
}
