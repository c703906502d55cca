# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_p2pfs_global_optspecs
    string join \n json v/verbose q/quiet h/help V/version
end

function __fish_p2pfs_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_p2pfs_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_p2pfs_using_subcommand
    set -l cmd (__fish_p2pfs_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c p2pfs -n "__fish_p2pfs_needs_command" -l json -d 'Print one JSON object a line on stdout for each event'
complete -c p2pfs -n "__fish_p2pfs_needs_command" -s v -l verbose -d 'Log more: -v for details, -vv for everything'
complete -c p2pfs -n "__fish_p2pfs_needs_command" -s q -l quiet -d 'Log errors only'
complete -c p2pfs -n "__fish_p2pfs_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c p2pfs -n "__fish_p2pfs_needs_command" -s V -l version -d 'Print version'
complete -c p2pfs -n "__fish_p2pfs_needs_command" -f -a "share" -d 'Share the files of a folder with everybody on the network'
complete -c p2pfs -n "__fish_p2pfs_needs_command" -f -a "get" -d 'Fetch files that others share, verify them, and exit'
complete -c p2pfs -n "__fish_p2pfs_needs_command" -f -a "list" -d 'Show what is on offer, from whom, and when it was last heard of'
complete -c p2pfs -n "__fish_p2pfs_needs_command" -f -a "doctor" -d 'Tell why nothing is found: look at interfaces, broadcasts, the registry and peers'
complete -c p2pfs -n "__fish_p2pfs_needs_command" -f -a "status" -d 'Show how a share or peer of yours does that runs on this machine'
complete -c p2pfs -n "__fish_p2pfs_needs_command" -f -a "registry" -d 'Run the registry, which knows which peer listens where'
complete -c p2pfs -n "__fish_p2pfs_needs_command" -f -a "peer" -d 'Run a peer, which shares a folder, and fetches and then shares what it wants'
complete -c p2pfs -n "__fish_p2pfs_needs_command" -f -a "completions" -d 'Print the completions of a shell'
complete -c p2pfs -n "__fish_p2pfs_needs_command" -f -a "man" -d 'Print the manual page'
complete -c p2pfs -n "__fish_p2pfs_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand share" -l port -d 'Listen on this TCP port [default: a free one]' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand share" -l registry -d 'Where the registry is: an address or a name, with a port unless that is 5000' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand share" -l interface -d 'Use this network interface: its address to listen on and to connect from, its broadcast address for offers; may be given many times, or with commas between. With several, others connect to the address from which we reach the registry' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand share" -l broadcast -d 'Where offers are sent; heard on the same port, on every interface [default: the broadcast address of each interface used, port 8000]' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand share" -l offer-interval -d 'How often each file is offered, such as 5s or 500ms' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand share" -l connections-max -d 'Connections at once [default: 1024 for a peer, 16384 for a registry]' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand share" -l connections-per-address-max -d 'Connections accepted from one address at once; the loopback is exempt' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand share" -l first-byte-timeout -d 'Close a new connection on which nothing was received for so long' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand share" -l idle-timeout -d 'Close a connection on which nothing was asked for so long' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand share" -l progress-timeout -d 'Give up a transfer in which nothing moved for so long' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand share" -l metrics -d 'Write metrics into this file every 10 s, as Prometheus reads them' -r -F
complete -c p2pfs -n "__fish_p2pfs_using_subcommand share" -l json -d 'Print one JSON object a line on stdout for each event'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand share" -s v -l verbose -d 'Log more: -v for details, -vv for everything'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand share" -s q -l quiet -d 'Log errors only'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand share" -s h -l help -d 'Print help'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand share" -s V -l version -d 'Print version'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand get" -s o -l output -d 'Put the files into this folder; - writes one file to stdout' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand get" -l timeout -d 'Give up after so long, be it that nobody offers it or that there is no registry [default: wait for ever]' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand get" -l retries -d 'Give a file up once all that offer it failed and were asked again so often. What nobody offers, and a registry that cannot be reached, is waited for: see --timeout' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand get" -l on-conflict -d 'What to do if there is something of that name: fail (unless it turns out to be the same), skip it, rename the new one to `NAME (1)`, or replace the old one' -r -f -a "fail\t''
skip\t''
rename\t''
replace\t''"
complete -c p2pfs -n "__fish_p2pfs_using_subcommand get" -l via -d 'Have a running peer of yours fetch the files, into its own folder, and wait for them; say which, if there are several' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand get" -l registry -d 'Where the registry is: an address or a name, with a port unless that is 5000' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand get" -l max-file-size -d 'Fetch no file larger than this, such as 500M or 4GiB' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand get" -l disk-reserve -d 'Leave so much of the disk free [default: the larger of 64 MiB and 1 %]' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand get" -l progress-timeout -d 'Give up a transfer in which nothing moved for so long' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand get" -l interface -d 'Connect from the address of this network interface; may be given many times, or with commas between. With several, the system chooses' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand get" -l broadcast -d 'Where others send offers to: heard on its port, on every interface, whatever its address; nothing is sent there [default: port 8000]' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand get" -l offer-interval -d 'How often others offer each file, such as 5s or 500ms: how long to listen follows from it' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand get" -l no-sync -d 'Do not wait until a file would survive a loss of power before it is called done'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand get" -l json -d 'Print one JSON object a line on stdout for each event'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand get" -s v -l verbose -d 'Log more: -v for details, -vv for everything'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand get" -s q -l quiet -d 'Log errors only'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand get" -s h -l help -d 'Print help'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand get" -s V -l version -d 'Print version'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand list" -l wait -d 'Listen for so long [default: a bit more than --offer-interval]' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand list" -l registry -d 'Ask this registry where the peers listen, and show that: an address or a name, with a port unless that is 5000 [default: ask none]' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand list" -l interface -d 'Show only what comes from the network of this interface; may be given many times, or with commas between' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand list" -l broadcast -d 'Where others send offers to: heard on its port, on every interface, whatever its address; nothing is sent there [default: port 8000]' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand list" -l offer-interval -d 'How often others offer each file, such as 5s or 500ms: how long to listen follows from it' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand list" -l watch -d 'Stay, whatever --wait says, and show what changes'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand list" -l json -d 'Print one JSON object a line on stdout for each event'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand list" -s v -l verbose -d 'Log more: -v for details, -vv for everything'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand list" -s q -l quiet -d 'Log errors only'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand list" -s h -l help -d 'Print help'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand list" -s V -l version -d 'Print version'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand doctor" -l registry -d 'Where the registry is: an address or a name, with a port unless that is 5000' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand doctor" -l interface -d 'Look at this network interface, and connect from it; may be given many times, or with commas between [default: all]' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand doctor" -l broadcast -d 'Where others send offers to, which is tried; heard on the same port, on every interface [default: the broadcast address of each interface, port 8000]' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand doctor" -l offer-interval -d 'How often others offer each file, such as 5s or 500ms: how long to listen follows from it' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand doctor" -l json -d 'Print one JSON object a line on stdout for each event'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand doctor" -s v -l verbose -d 'Log more: -v for details, -vv for everything'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand doctor" -s q -l quiet -d 'Log errors only'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand doctor" -s V -l version -d 'Print version'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand status" -l json -d 'Print one JSON object a line on stdout for each event'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand status" -s v -l verbose -d 'Log more: -v for details, -vv for everything'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand status" -s q -l quiet -d 'Log errors only'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand status" -s h -l help -d 'Print help'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand status" -s V -l version -d 'Print version'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand registry" -l listen -d 'Listen on this address; port 0 takes a free one' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand registry" -l connections-max -d 'Connections at once [default: 1024 for a peer, 16384 for a registry]' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand registry" -l connections-per-address-max -d 'Connections accepted from one address at once; the loopback is exempt' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand registry" -l first-byte-timeout -d 'Close a new connection on which nothing was received for so long' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand registry" -l idle-timeout -d 'Close a connection on which nothing was asked for so long' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand registry" -l json -d 'Print one JSON object a line on stdout for each event'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand registry" -s v -l verbose -d 'Log more: -v for details, -vv for everything'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand registry" -s q -l quiet -d 'Log errors only'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand registry" -s h -l help -d 'Print help'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand registry" -s V -l version -d 'Print version'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand peer" -l id -d 'Our number, which no other peer of the registry may have' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand peer" -l port -d 'Listen on this TCP port; 0 takes a free one' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand peer" -l host -d 'Our address: to listen on, to connect from and to broadcast on; or use --interface' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand peer" -l registry -d 'Where the registry is: an address or a name, with a port unless that is 5000' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand peer" -l interface -d 'Use this network interface: its address to listen on and to connect from, its broadcast address for offers; may be given many times, or with commas between. With several, others connect to the address from which we reach the registry' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand peer" -l broadcast -d 'Where offers are sent; heard on the same port, on every interface [default: the broadcast address of each interface used, port 8000]' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand peer" -l offer-interval -d 'How often each file is offered, such as 5s or 500ms' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand peer" -l dir -d 'Share this folder, as it is, and fetch into it [default: a folder peer-N in the current one, made anew at each start]' -r -F
complete -c p2pfs -n "__fish_p2pfs_using_subcommand peer" -l initial-folders -d 'Fill the folder peer-N with the files of the folder peer-N in this one' -r -F
complete -c p2pfs -n "__fish_p2pfs_using_subcommand peer" -l want -d 'Fetch this file; may be given many times' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand peer" -l max-file-size -d 'Fetch no file larger than this, such as 500M or 4GiB' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand peer" -l disk-reserve -d 'Leave so much of the disk free [default: the larger of 64 MiB and 1 %]' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand peer" -l connections-max -d 'Connections at once [default: 1024 for a peer, 16384 for a registry]' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand peer" -l connections-per-address-max -d 'Connections accepted from one address at once; the loopback is exempt' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand peer" -l first-byte-timeout -d 'Close a new connection on which nothing was received for so long' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand peer" -l idle-timeout -d 'Close a connection on which nothing was asked for so long' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand peer" -l progress-timeout -d 'Give up a transfer in which nothing moved for so long' -r
complete -c p2pfs -n "__fish_p2pfs_using_subcommand peer" -l metrics -d 'Write metrics into this file every 10 s, as Prometheus reads them' -r -F
complete -c p2pfs -n "__fish_p2pfs_using_subcommand peer" -l exit-when-done -d 'Exit once every wanted file is there and verified'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand peer" -l simulate-checksum-failure -d 'Take the first download of each file for a wrong one, to show the recovery'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand peer" -l no-sync -d 'Do not wait until a file would survive a loss of power before it is called done'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand peer" -l json -d 'Print one JSON object a line on stdout for each event'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand peer" -s v -l verbose -d 'Log more: -v for details, -vv for everything'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand peer" -s q -l quiet -d 'Log errors only'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand peer" -s h -l help -d 'Print help'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand peer" -s V -l version -d 'Print version'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand completions" -l json -d 'Print one JSON object a line on stdout for each event'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand completions" -s v -l verbose -d 'Log more: -v for details, -vv for everything'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand completions" -s q -l quiet -d 'Log errors only'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand completions" -s h -l help -d 'Print help'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand completions" -s V -l version -d 'Print version'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand man" -l json -d 'Print one JSON object a line on stdout for each event'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand man" -s v -l verbose -d 'Log more: -v for details, -vv for everything'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand man" -s q -l quiet -d 'Log errors only'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand man" -s h -l help -d 'Print help'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand man" -s V -l version -d 'Print version'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand help; and not __fish_seen_subcommand_from share get list doctor status registry peer completions man help" -f -a "share" -d 'Share the files of a folder with everybody on the network'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand help; and not __fish_seen_subcommand_from share get list doctor status registry peer completions man help" -f -a "get" -d 'Fetch files that others share, verify them, and exit'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand help; and not __fish_seen_subcommand_from share get list doctor status registry peer completions man help" -f -a "list" -d 'Show what is on offer, from whom, and when it was last heard of'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand help; and not __fish_seen_subcommand_from share get list doctor status registry peer completions man help" -f -a "doctor" -d 'Tell why nothing is found: look at interfaces, broadcasts, the registry and peers'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand help; and not __fish_seen_subcommand_from share get list doctor status registry peer completions man help" -f -a "status" -d 'Show how a share or peer of yours does that runs on this machine'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand help; and not __fish_seen_subcommand_from share get list doctor status registry peer completions man help" -f -a "registry" -d 'Run the registry, which knows which peer listens where'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand help; and not __fish_seen_subcommand_from share get list doctor status registry peer completions man help" -f -a "peer" -d 'Run a peer, which shares a folder, and fetches and then shares what it wants'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand help; and not __fish_seen_subcommand_from share get list doctor status registry peer completions man help" -f -a "completions" -d 'Print the completions of a shell'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand help; and not __fish_seen_subcommand_from share get list doctor status registry peer completions man help" -f -a "man" -d 'Print the manual page'
complete -c p2pfs -n "__fish_p2pfs_using_subcommand help; and not __fish_seen_subcommand_from share get list doctor status registry peer completions man help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
