#!/usr/bin/env perl
# A plugin in another language, written from docs/plugin-protocol.md: answers a text with its reverse.
use strict;
use warnings;
use JSON::PP;

open(my $requests, '<&=', $ENV{WINDLASS_FD_IN}) or die "no requests: $!";
open(my $responses, '>&=', $ENV{WINDLASS_FD_OUT}) or die "no responses: $!";
binmode($_) for $requests, $responses;
$responses->autoflush(1);
my $json = JSON::PP->new->utf8->allow_nonref;

sub send_response {
    my $body = $json->encode({ @_ });
    print {$responses} pack('N', length $body), $body;
}

send_response(hello => { protocol => 1, name => 'plugin.pl', sequential => JSON::PP::true });
while (read($requests, my $header, 4) == 4) {
    read($requests, my $body, unpack('N', $header));
    my $request = $json->decode($body);
    last if $request->{stop};
    my $run = $request->{run} or next;
    my $text = $run->{job}{data} // '';
    if (ref $text) {
        send_response(failed => { id => $run->{id}, class => 'rejected', message => 'the data is no text' });
        next;
    }
    send_response(log => { id => $run->{id}, line => 'reversing ' . length($text) . ' characters' });
    send_response(done => { id => $run->{id}, output => scalar reverse $text });
}
