#!/usr/bin/env perl
# A whole plugin: frames of JSON on descriptor 3 in, on descriptor 4 out. What it prints is logged.
use strict;
use warnings;
use JSON::PP;

my $json = JSON::PP->new->utf8->allow_nonref;
open(my $requests, '<&=', 3) or die "descriptor 3: $!";
open(my $responses, '>&=', 4) or die "descriptor 4: $!";
binmode $_ for $requests, $responses;

sub take {
    my ($length) = @_;
    read($requests, my $bytes, $length) // die "cannot read: $!";
    return $bytes;
}

sub answer {
    my $frame = $json->encode($_[0]);
    print $responses pack('N', length $frame), $frame;
    $responses->flush;
}

answer({ hello => { protocol => 1, name => 'reverse', sequential => JSON::PP::true } });
while (length(my $head = take(4)) == 4) {
    my $request = $json->decode(take(unpack 'N', $head));
    last if $request->{stop};
    my $run = $request->{run} or next;
    my $text = $run->{job}{data};
    if (!defined $text || ref $text) {
        answer({ failed => { id => $run->{id}, class => 'rejected', message => 'the data must be a text' } });
        next;
    }
    print "reversing ", length $text, " characters\n";
    STDOUT->flush;
    answer({ done => { id => $run->{id}, output => scalar reverse $text } });
}
