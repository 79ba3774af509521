/* The trivial program: what is left of a launch is the launch. */
int main(void)
{
	return 0;
}
