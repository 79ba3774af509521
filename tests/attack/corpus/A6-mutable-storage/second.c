/* Ends with 42, for whoever waits for it. */
int main(void) { return 42; }
