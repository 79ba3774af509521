# Text, files, processes, sockets, signals.
use strict;
use warnings;
use File::Find;
use File::Temp qw(tempdir);
use IO::Select;
use IO::Socket::INET;
use POSIX ();
use Time::HiRes qw(sleep alarm);

$| = 1;
my $n = 0;

sub same {
    my ($what, $found, $expected) = @_;
    if (defined $found && $found eq $expected) { $n++ } else { print "FAILED $what: ", $found // "nothing", "\n" }
}

my %count;
$count{$_}++ for "the cat and the dog and the bird" =~ /\w+/g;
same("words", join(" ", map { "$_=$count{$_}" } sort keys %count), "and=2 bird=1 cat=1 dog=1 the=3");

my $place = tempdir(CLEANUP => 1);
mkdir "$place/a" or die;
for my $name (1 .. 3) { open my $file, ">", "$place/a/$name" or die; print $file "x" x $name; close $file }
my $size = 0;
find(sub { $size += -s if -f }, $place);
same("find", $size, 6);

pipe my $reader, my $writer or die;
my $child = fork // die;
if (!$child) { close $reader; print $writer "from the child"; close $writer; POSIX::_exit(3) }
close $writer;
same("pipe", scalar <$reader>, "from the child");
waitpid $child, 0;
same("wait", $? >> 8, 3);
same("backticks", `echo out of a shell`, "out of a shell\n");

my $server = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1", LocalPort => 8093, ReuseAddr => 1) or die $@;
if (!($child = fork // die)) {
    my $socket = IO::Socket::INET->new("127.0.0.1:8093") or die $@;
    print $socket "hello\n";
    POSIX::_exit(0);
}
same("select", scalar(my @ready = IO::Select->new($server)->can_read(30)), 1);
same("socket", $server->accept->getline, "hello\n");
waitpid $child, 0;

my $heard = "";
local $SIG{ALRM} = sub { $heard = "alarm" };
alarm 0.05;
sleep 1;
same("alarm", $heard, "alarm");
same("flock", flock(DATA, 2), 1);
print "done $n\n";
__DATA__
