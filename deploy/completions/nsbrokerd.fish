# fish completion for nsbrokerd. Where fish looks for it: /usr/share/fish/vendor_completions.d/nsbrokerd.fish

# Prints the command and its operands.
function __nsbrokerd_operands
    set -l words (commandline -opc)
    set -l option
    for word in $words[2..]
        if set -q option[1]
            set -e option
            continue
        end
        switch $word
            case --config --user --bind --connect --option --listen --grant --namespace --cookie --sockets --root
                set option $word
            case '-*'
            case '*'
                echo $word
        end
    end
end

function __nsbrokerd_at
    set -l operands (__nsbrokerd_operands)
    contains -- "$operands[1]" $argv
end

# Succeeds if so many operands of this command are there.
function __nsbrokerd_after
    set -l operands (__nsbrokerd_operands)
    test "$operands[1]" = $argv[1]; and test (count $operands) -eq (math $argv[2] + 1)
end

function __nsbrokerd_namespaces
    for path in /run/netns/*
        string replace -r '.*/' '' -- $path
    end
    echo @host
end

set -g __nsbrokerd_kinds tcp udp udplite mptcp sctp icmp packet unix \
    raw:{icmp,igmp,tcp,udp,gre,esp,ah,icmpv6,ospf,pim,vrrp,sctp,udplite,raw} \
    netlink:{route,sock_diag,xfrm,netfilter,generic}

complete -c nsbrokerd -f
complete -c nsbrokerd -s h -l help -d 'print help'
complete -c nsbrokerd -n '__nsbrokerd_at ""' -l version -d 'print the version'
complete -c nsbrokerd -n '__nsbrokerd_at ""' -a serve -d 'run the broker'
complete -c nsbrokerd -n '__nsbrokerd_at ""' -a check -d 'check the configuration'
complete -c nsbrokerd -n '__nsbrokerd_at ""' -a explain -d 'show whether a request would be allowed'
complete -c nsbrokerd -n '__nsbrokerd_at ""' -a status -d 'show what the broker does'
complete -c nsbrokerd -n '__nsbrokerd_at ""' -a health -d 'say whether the broker answers and has no fault'
complete -c nsbrokerd -n '__nsbrokerd_at ""' -a reload -d 'load the configuration again'
complete -c nsbrokerd -n '__nsbrokerd_at ""' -a metrics -d 'serve the status to Prometheus'
complete -c nsbrokerd -n '__nsbrokerd_at ""' -a sockets -d 'list the live sockets'
complete -c nsbrokerd -n '__nsbrokerd_at ""' -a revoke -d 'cut off live sockets of grants with limits'
complete -c nsbrokerd -n '__nsbrokerd_at ""' -a install -d 'set up this host'
complete -c nsbrokerd -n '__nsbrokerd_at ""' -a uninstall -d 'undo install'
complete -c nsbrokerd -n '__nsbrokerd_at ""' -a grant -d 'give a user sockets in a namespace'
complete -c nsbrokerd -n '__nsbrokerd_at ""' -a ungrant -d 'undo grant'

complete -c nsbrokerd -n 'not __nsbrokerd_at "" install uninstall' -l config -r -F -d 'the main file of the broker'
complete -c nsbrokerd -n '__nsbrokerd_at check explain status sockets' -l json -d 'print JSON'
complete -c nsbrokerd -n '__nsbrokerd_at status sockets' -l watch -d 'repeat it every second'
complete -c nsbrokerd -n '__nsbrokerd_at metrics' -l listen -x -d 'where Prometheus asks'
complete -c nsbrokerd -n '__nsbrokerd_at explain revoke' -l user -x -d user -a '(__fish_complete_users)'
complete -c nsbrokerd -n '__nsbrokerd_at explain grant' -l bind -x -d 'address to bind'
complete -c nsbrokerd -n '__nsbrokerd_at explain grant' -l connect -x -d 'address to connect to'
complete -c nsbrokerd -n '__nsbrokerd_at explain grant' -l option -x -d 'a privileged option' -a 'mark= bind_device= transparent'
complete -c nsbrokerd -n '__nsbrokerd_at revoke' -l grant -x -d 'sockets of this grant'
complete -c nsbrokerd -n '__nsbrokerd_at revoke' -l namespace -x -d 'sockets in this namespace' -a '(__nsbrokerd_namespaces)'
complete -c nsbrokerd -n '__nsbrokerd_at revoke' -l cookie -x -d 'this socket'
complete -c nsbrokerd -n '__nsbrokerd_at grant' -l sockets -x -d 'kinds of sockets' -a "$__nsbrokerd_kinds"
complete -c nsbrokerd -n '__nsbrokerd_at install uninstall' -l root -r -F -d 'the root directory of another host'
complete -c nsbrokerd -n '__nsbrokerd_at uninstall' -l purge -d 'also remove configuration, audit and groups'
for command in grant ungrant
    complete -c nsbrokerd -n "__nsbrokerd_after $command 0" -a '(__fish_complete_users)' -d user
    complete -c nsbrokerd -n "__nsbrokerd_after $command 1" -a '(__nsbrokerd_namespaces) @own' -d namespace
end
complete -c nsbrokerd -n '__nsbrokerd_after explain 0' -a '(__nsbrokerd_namespaces) @own' -d namespace
complete -c nsbrokerd -n '__nsbrokerd_after explain 1' -a "$__nsbrokerd_kinds" -d kind
