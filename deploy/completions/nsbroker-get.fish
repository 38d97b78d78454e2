# fish completion for nsbroker-get. Where fish looks for it: /usr/share/fish/vendor_completions.d/nsbroker-get.fish

# Prints which place is completed: "first", "verb", a verb, or "command" and the number of the word it begins at.
function __nsbroker_get_place
    set -l words (commandline -opc)
    set -l first
    set -l verb
    set -l option
    for index in (seq 2 (count $words))
        set -l word $words[$index]
        if set -q option[1]
            set -e option
            continue
        end
        switch $word
            case --broker --timeout --wait -w -s -l -p --fdname --max --type --bind --connect --fd --mark
                set option $word
            case --
                contains -- "$verb" connect explain proxy resolve list; and return
                echo command (math $index + 1)
                return
            case '-*'
            case '*'
                if contains -- "$verb" listen run socket
                    echo command $index
                    return
                else if set -q verb[1]
                    set verb $verb[1] operand
                else if set -q first[1]; or test "$word" = list
                    set verb $word
                else
                    set first $word
                end
        end
    end
    if set -q verb[1]
        test "$verb[1]" = list; and set -q first[1]; and set verb list operand
        echo $verb
    else if set -q first[1]
        echo verb
    else
        echo first
    end
end

function __nsbroker_get_at
    set -l place (string split ' ' (__nsbroker_get_place))
    contains -- "$place[1]" $argv
end

function __nsbroker_get_namespaces
    set -l broker
    set -l words (commandline -opc)
    for index in (seq (count $words))
        switch $words[$index]
            case --broker
                set broker --broker $words[(math $index + 1)]
            case '--broker=*'
                set broker $words[$index]
        end
    end
    nsbroker-get $broker --timeout 1 list 2>/dev/null | while read -l name rest
        string match -q -r '^(NAMESPACE|@own)$' -- $name; or echo $name
    end
end

# Leaves the rest to the other command's completion.
function __nsbroker_get_command
    set -l words (commandline -opc)
    set -l place (string split ' ' (__nsbroker_get_place))
    set -l left (string escape -- $words[$place[2]..])
    complete -C (string join ' ' -- $left (commandline -ct))
end

set -g __nsbroker_get_kinds tcp udp udplite mptcp sctp icmp packet \
    raw:{icmp,igmp,tcp,udp,gre,esp,ah,icmpv6,ospf,pim,vrrp,sctp,udplite,raw} \
    netlink:{route,sock_diag,xfrm,netfilter,generic}

complete -c nsbroker-get -f
complete -c nsbroker-get -n '__nsbroker_get_at first' -a '(__nsbroker_get_namespaces)' -d namespace
complete -c nsbroker-get -n '__nsbroker_get_at first' -a list -d 'the namespaces and sockets that you may use'
complete -c nsbroker-get -n '__nsbroker_get_at first' -l broker -r -F -d 'the socket of the broker'
complete -c nsbroker-get -n '__nsbroker_get_at first' -l timeout -x -d 'seconds to wait for the broker'
complete -c nsbroker-get -n '__nsbroker_get_at first' -l wait -x -d 'seconds to wait for a namespace or address'
complete -c nsbroker-get -n '__nsbroker_get_at first' -l version -d 'print the version'
complete -c nsbroker-get -n 'not __nsbroker_get_at command' -s h -l help -d 'print help'

complete -c nsbroker-get -n '__nsbroker_get_at verb' -a connect -d 'connect standard input and output'
complete -c nsbroker-get -n '__nsbroker_get_at verb' -a explain -d 'which grant allows a socket, or what is missing'
complete -c nsbroker-get -n '__nsbroker_get_at verb' -a listen -d 'run a server with listening sockets'
complete -c nsbroker-get -n '__nsbroker_get_at verb' -a proxy -d 'offer it to browsers as a proxy'
complete -c nsbroker-get -n '__nsbroker_get_at verb' -a resolve -d 'the addresses of a host'
complete -c nsbroker-get -n '__nsbroker_get_at verb' -a run -d 'run a program in the namespace'
complete -c nsbroker-get -n '__nsbroker_get_at verb' -a socket -d 'run a program with one socket of any kind'
complete -c nsbroker-get -n '__nsbroker_get_at verb' -a list -d 'the sockets that you may have there'
complete -c nsbroker-get -n '__nsbroker_get_at verb listen run socket' -a -- -d 'a command follows'
complete -c nsbroker-get -n '__nsbroker_get_at command' -a '(__nsbroker_get_command)'

complete -c nsbroker-get -n '__nsbroker_get_at connect explain listen resolve socket' -s 4 -d 'only IPv4'
complete -c nsbroker-get -n '__nsbroker_get_at connect explain listen resolve socket' -s 6 -d 'only IPv6'
complete -c nsbroker-get -n '__nsbroker_get_at connect listen' -s u -d UDP
complete -c nsbroker-get -n '__nsbroker_get_at connect' -s F -d 'pass the connection over standard output'
complete -c nsbroker-get -n '__nsbroker_get_at connect' -s w -x -d 'seconds to connect, or without data'
complete -c nsbroker-get -n '__nsbroker_get_at connect' -s s -x -d 'the address to connect from'
complete -c nsbroker-get -n '__nsbroker_get_at listen proxy' -s l -x -d 'address to listen on'
complete -c nsbroker-get -n '__nsbroker_get_at proxy' -l any-user -d 'let every user in'
complete -c nsbroker-get -n '__nsbroker_get_at listen' -l fdname -x -d 'name in LISTEN_FDNAMES'
complete -c nsbroker-get -n '__nsbroker_get_at listen' -s p -x -d 'kind of socket' -a 'tcp udp udplite mptcp sctp'
complete -c nsbroker-get -n '__nsbroker_get_at listen' -l inetd -d 'as standard input and output'
complete -c nsbroker-get -n '__nsbroker_get_at listen' -l nginx -d 'pass the sockets in NGINX'
complete -c nsbroker-get -n '__nsbroker_get_at listen' -l accept -d 'one command for each connection'
complete -c nsbroker-get -n '__nsbroker_get_at listen' -l max -x -d 'commands at once'
complete -c nsbroker-get -n '__nsbroker_get_at listen' -l wait -x -d 'seconds to wait for a namespace or address'
complete -c nsbroker-get -n '__nsbroker_get_at connect explain listen proxy run socket' -l mark -x -d 'the firewall mark of the sockets'
complete -c nsbroker-get -n '__nsbroker_get_at connect explain listen proxy run socket' -l transparent -d 'set IP_TRANSPARENT'
complete -c nsbroker-get -n '__nsbroker_get_at connect explain listen proxy run socket' -l freebind -d 'allow addresses that the namespace lacks'
complete -c nsbroker-get -n '__nsbroker_get_at run' -l stock -x -d 'sockets to keep ready'
complete -c nsbroker-get -n '__nsbroker_get_at socket' -l type -x -d 'kind of socket' -a "$__nsbroker_get_kinds"
complete -c nsbroker-get -n '__nsbroker_get_at explain socket' -l bind -x -d 'address to bind'
complete -c nsbroker-get -n '__nsbroker_get_at socket' -l fd -x -d 'number of the descriptor'
complete -c nsbroker-get -n '__nsbroker_get_at explain' -l connect -x -d 'address to connect to'
complete -c nsbroker-get -n 'string match -q explain -- (__nsbroker_get_place)' -a "$__nsbroker_get_kinds unix" -d kind
complete -c nsbroker-get -n '__nsbroker_get_at list' -l json -d 'print JSON'
complete -c nsbroker-get -n 'string match -q list -- (__nsbroker_get_place)' -a '(__nsbroker_get_namespaces)' -d namespace
