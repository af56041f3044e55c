#!/usr/bin/perl
# usage: posix.pl DIRECTORY
#
# File operations in an empty directory, and what came of each: lines that are the same on every file system
# that keeps to POSIX. Runs in the guests of tests/integration/peers, on one of the host's and on a local one.
use strict;
use warnings;
use Errno;
use Fcntl qw(:DEFAULT :flock :mode :seek);

my %syscall = (setxattr => 188, getxattr => 191, listxattr => 194, removexattr => 197); # x86-64

chdir($ARGV[0]) or die "$ARGV[0]: $!";
umask(022);

# say NAME, RESULT...
sub report { print join(' ', @_), "\n"; }

# The result of a call: ok, or the error's name.
sub outcome {
    return 'ok' if $_[0];
    for my $name (keys %!) { return $name if $!{$name}; }
    return "error " . ($! + 0);
}

sub spew {
    my ($path, $data) = @_;
    open(my $file, '>', $path) or die "$path: $!";
    print $file $data;
    close($file) or die "$path: $!";
}

sub slurp {
    open(my $file, '<', $_[0]) or return outcome(0);
    local $/;
    return <$file>;
}

sub creation {
    report('create', outcome(sysopen(my $file, 'new', O_CREAT | O_EXCL | O_RDWR, 0640)));
    report('create again', outcome(sysopen(my $again, 'new', O_CREAT | O_EXCL | O_RDWR)));
    report('mode', sprintf('%o', (stat('new'))[2]));
    report('no such file', outcome(open(my $none, '<', 'none')));
    report('below a file', outcome(mkdir('new/x')));
    report('name of 255', outcome(mkdir('n' x 255)));
    report('name of 256', outcome(mkdir('n' x 256)));
    report('mkdir', outcome(mkdir('dir', 01777)), sprintf('%o', (stat('dir'))[2]));
    spew('dir/file', 'x');
    report('rmdir full', outcome(rmdir('dir')));
    report('unlink directory', outcome(unlink('n' x 255) == 1));
    report('rmdir', outcome(rmdir('n' x 255)));
    report('fifo', outcome(system('mkfifo', 'fifo') == 0), -p 'fifo' ? 'is one' : 'is none');
}

sub content {
    sysopen(my $file, 'content', O_CREAT | O_RDWR) or die;
    report('write', syswrite($file, 'hello world'));
    sysseek($file, 100000, SEEK_SET);
    report('write beyond', syswrite($file, 'end'));
    report('size', -s 'content');
    sysseek($file, 50000, SEEK_SET);
    my ($hole, $rest);
    report('hole', sysread($file, $hole, 4096), $hole =~ tr/\0//);
    report('truncate', outcome(truncate($file, 5)), slurp('content'));
    report('grow', outcome(truncate($file, 20)), slurp('content') =~ tr/\0//);
    open(my $append, '>>', 'content');
    print $append 'appended';
    close($append);
    report('append', slurp('content') =~ tr/\0/./r);
    report('unlink', outcome(unlink('content')), (stat($file))[3], 'links');
    sysseek($file, 0, SEEK_SET);
    report('read what is unlinked', sysread($file, $rest, 100));
    sysopen(my $sparse, 'sparse', O_CREAT | O_RDWR);
    report('sparse', outcome(truncate($sparse, 1 << 40)), -s 'sparse');
    unlink('sparse');
}

sub renaming {
    mkdir("r$_") for 1 .. 4;
    spew('a', 'a');
    spew('b', 'b');
    spew('r2/full', '');
    open(my $held, '<', 'b');
    report('rename over', outcome(rename('a', 'b')), slurp('b'), -e 'a' ? 'still' : 'gone');
    report('what was held', <$held>);
    report('rename directory', outcome(rename('r1', 'r5')));
    report('over an empty one', outcome(rename('r5', 'r3')));
    report('over a full one', outcome(rename('r4', 'r2')));
    report('file over directory', outcome(rename('b', 'r3')));
    report('directory over file', outcome(rename('r3', 'b')));
    report('into itself', outcome(rename('r2', 'r2/below')));
    report('across', outcome(rename('b', 'r3/c')), slurp('r3/c'));
    report('no such', outcome(rename('none', 'd')));
}

sub linking {
    spew('one', 'linked');
    report('link', outcome(link('one', 'two')), (stat('one'))[3], slurp('two'));
    report('same inode', (stat('one'))[1] == (stat('two'))[1] ? 'yes' : 'no');
    report('link over', outcome(link('one', 'two')));
    report('link directory', outcome(link('dir', 'dir2')));
    report('unlink one', outcome(unlink('one')), (stat('two'))[3]);
    report('symlink', outcome(symlink('two', 'soft')), readlink('soft'), slurp('soft'), (lstat('soft'))[7]);
    report('dangling', outcome(symlink('none', 'dangling')), outcome(open(my $f, '<', 'dangling')));
    symlink('loop', 'loop');
    report('loop', outcome(open(my $g, '<', 'loop')));
    report('readlink of a file', defined(readlink('two')) ? 'read' : outcome(0));
}

sub attributes {
    spew('attr', 'x');
    report('chmod', outcome(chmod(04751, 'attr')), sprintf('%o', (stat('attr'))[2]));
    report('chown', outcome(chown(1000, 2000, 'attr')), (stat('attr'))[4, 5], sprintf('%o', (stat('attr'))[2]));
    report('utime', outcome(utime(1000000000, 1100000000, 'attr')), (stat('attr'))[8, 9]);
    report('times before 1970', outcome(utime(-5, -7, 'attr')), (stat('attr'))[9]);
}

# Of the file x: what the call returns, and the value that it may have written.
sub attribute_call {
    my ($number, @arguments) = @_;
    my $path = 'x';
    my $result = syscall($syscall{$number}, $path, @arguments);
    return ($result, $arguments[-2]);
}

sub xattr {
    my ($name, $value, $room) = ('user.vireo', "va\0lue", "\0" x 256);
    my ($length, $found);
    spew('x', '');
    report('no attribute', outcome((attribute_call('getxattr', $name, $room, 256))[0] >= 0));
    report('setxattr', outcome((attribute_call('setxattr', $name, $value, 6, 1))[0] == 0));
    report('create again', outcome((attribute_call('setxattr', $name, $value, 6, 1))[0] == 0));
    ($length, $found) = attribute_call('getxattr', $name, $room, 256);
    report('getxattr', $length, unpack('H*', substr($found, 0, $length)));
    report('no room', outcome((attribute_call('getxattr', $name, $room, 2))[0] >= 0));
    attribute_call('setxattr', 'user.more', 'v' x 2000, 2000, 0);
    ($length, $found) = attribute_call('listxattr', $room, 256);
    report('listxattr', join(',', sort(split(/\0/, substr($found, 0, $length)))));
    report('removexattr', outcome((attribute_call('removexattr', $name))[0] == 0));
    report('removed', outcome((attribute_call('getxattr', $name, $room, 256))[0] >= 0));
}

# What a child finds locked, by fcntl and by flock.
sub child_finds {
    my ($what) = @_;
    my $pid = fork();
    if (!$pid) {
        open(my $file, '+<', 'locked') or exit(9);
        exit($what->($file) ? 0 : 1);
    }
    waitpid($pid, 0);
    return $? >> 8 ? 'locked' : 'free';
}

# struct flock of x86-64 Linux: type, whence, start, length, pid
sub posix_lock {
    my ($file, $type, $start, $length) = @_;
    return fcntl($file, F_SETLK, pack('s s x4 q q i x4', $type, SEEK_SET, $start, $length, 0));
}

sub locks {
    spew('locked', 'x' x 100);
    open(my $file, '+<', 'locked');
    report('lock', outcome(posix_lock($file, F_WRLCK, 10, 10)));
    report('same bytes', child_finds(sub { posix_lock($_[0], F_RDLCK, 15, 1) }));
    report('other bytes', child_finds(sub { posix_lock($_[0], F_WRLCK, 20, 10) }));
    posix_lock($file, F_UNLCK, 0, 0);
    report('unlocked', child_finds(sub { posix_lock($_[0], F_WRLCK, 15, 1) }));
    report('flock', outcome(flock($file, LOCK_EX | LOCK_NB)), child_finds(sub { flock($_[0], LOCK_SH | LOCK_NB) }));
    report('shared', outcome(flock($file, LOCK_SH)), child_finds(sub { flock($_[0], LOCK_SH | LOCK_NB) }));
}

# Thousands of names, and reading on while they go.
sub directories {
    my ($count, $seen, %seen) = (3000, 0);
    mkdir('many');
    spew("many/file-with-a-long-name-$_", '') for 1 .. $count;
    opendir(my $dir, 'many');
    $seen{$_}++ for grep { !/^\./ } readdir($dir);
    report('names', scalar(keys %seen), (grep { $_ > 1 } values %seen) ? 'some twice' : 'each once');
    rewinddir($dir);
    while (defined(my $name = readdir($dir))) { $seen++ if $name !~ /^\./ && unlink("many/$name"); }
    report('removed while reading', $seen, outcome(rmdir('many')));
}

creation();
content();
renaming();
linking();
attributes();
xattr();
locks();
directories();
