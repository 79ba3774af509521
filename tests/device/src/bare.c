/* Says `I run` and stays, without a library: small enough for hundreds of images. */
static long call(long number, long a, long b, long c, long d)
{
    long result;
#ifdef __x86_64__
    register long r10 __asm__("r10") = d;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                     : "rcx", "r11", "memory");
#else
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c,
                  x3 __asm__("x3") = d;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
    result = x0;
#endif
    return result;
}

void _start(void)
{
#ifdef __x86_64__
    enum { WRITE = 1, PPOLL = 271 };
#else
    enum { WRITE = 64, PPOLL = 73 };
#endif
    call(WRITE, 1, (long)"I run\n", 6, 0);
    for (;;)
        call(PPOLL, 0, 0, 0, 0);
}
