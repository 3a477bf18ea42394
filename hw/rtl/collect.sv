// From the order of computing, pixel by pixel, to the order of memory, plane by plane. Packet COLLECT.
module collect #(
    parameter int LANES        = 16,
    parameter int TILE_VECTORS = 512
) (
    input  logic               clk,
    input  logic               reset,
    input  logic               packet_valid,
    output logic               packet_ready,
    input  logic [63:0]        packet,
    input  logic               spatial_valid,
    output logic               spatial_ready,
    input  logic [8*LANES-1:0] spatial_data,
    input  logic               pointwise_valid,
    output logic               pointwise_ready,
    input  logic [8*LANES-1:0] pointwise_data,
    output logic               out_valid,
    input  logic               out_ready,
    output logic [8*LANES-1:0] out_data
);
    localparam int BITS = $clog2(TILE_VECTORS);

    enum logic [1:0] {HEAD, SIZE, FILL} state;

    logic from_spatial;
    logic [15:0] planes, tile, plane, pixel, pixels;
    logic [31:0] left;
    logic [BITS-1:0] fill_at;
    logic fill_side, empty_side, fill, open, last_plane, tile_ends, unused_head;
    logic [1:0] full;
    logic [15:0] planes_of[2], pixels_of[2];

    assign unused_head = &{packet[0], packet[15:2], packet[63:48]};
    assign packet_ready = state == HEAD || state == SIZE;
    assign pixels = left > 32'(tile) ? tile : left[15:0];
    assign last_plane = plane + 16'd1 == planes;
    assign open = state == FILL && !full[fill_side];
    assign spatial_ready = open && from_spatial;
    assign pointwise_ready = open && !from_spatial;
    assign fill = open && (from_spatial ? spatial_valid : pointwise_valid);
    assign tile_ends = fill && last_plane && pixel + 16'd1 == pixels;

    always_ff @(posedge clk) begin
        case (state)
            HEAD: if (packet_valid) begin
                from_spatial <= packet[1];
                planes       <= packet[31:16];
                tile         <= packet[47:32];
                state        <= SIZE;
            end
            SIZE: if (packet_valid) begin
                left    <= packet[31:0];
                plane   <= '0;
                pixel   <= '0;
                fill_at <= '0;
                state   <= FILL;
            end
            default: if (fill) begin
                plane   <= last_plane ? 16'd0 : plane + 16'd1;
                pixel   <= last_plane ? pixel + 16'd1 : pixel;
                fill_at <= fill_at + 1'b1;
                if (tile_ends) begin
                    pixel   <= '0;
                    fill_at <= '0;
                    left    <= left - 32'(pixels);
                    if (left == 32'(pixels)) state <= HEAD;
                end
            end
        endcase
        if (reset) state <= HEAD;
    end

    logic [BITS-1:0] empty_at;
    logic [15:0] empty_plane, empty_pixel;
    logic may_reserve, empty, emptied, read, last_pixel;
    logic [8*LANES-1:0] read_data;

    assign empty = full[empty_side] && may_reserve;
    assign last_pixel = empty_pixel + 16'd1 == pixels_of[empty_side];
    assign emptied = empty && last_pixel && empty_plane + 16'd1 == planes_of[empty_side];

    ram #(.WIDTH(8 * LANES), .DEPTH(2 << BITS)) tiles (
        .clk,
        .write(fill), .write_at({fill_side, fill_at}), .write_data(from_spatial ? spatial_data : pointwise_data),
        .read(empty), .read_at({empty_side, empty_at}), .read_data
    );
    outbox #(.WIDTH(8 * LANES)) out (
        .clk, .reset, .may_reserve, .reserve(empty), .push(read), .push_data(read_data),
        .out_valid, .out_ready, .out_data
    );

    always_ff @(posedge clk) begin
        read <= empty;
        if (tile_ends) begin
            full[fill_side]      <= 1'b1;
            planes_of[fill_side] <= planes;
            pixels_of[fill_side] <= pixels;
            fill_side            <= !fill_side;
        end
        if (empty) begin
            empty_pixel <= last_pixel ? 16'd0 : empty_pixel + 16'd1;
            empty_at    <= last_pixel ? BITS'(empty_plane + 16'd1) : empty_at + BITS'(planes_of[empty_side]);
            if (last_pixel) empty_plane <= empty_plane + 16'd1;
        end
        if (emptied) begin
            full[empty_side] <= 1'b0;
            empty_side       <= !empty_side;
            empty_plane      <= '0;
            empty_at         <= '0;
        end
        if (reset) begin
            full        <= '0;
            fill_side   <= 1'b0;
            empty_side  <= 1'b0;
            empty_at    <= '0;
            empty_plane <= '0;
            empty_pixel <= '0;
            read        <= 1'b0;
        end
    end
endmodule
